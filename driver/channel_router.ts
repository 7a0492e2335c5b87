// Joins the engine's channels with streams (reliable) and datagram messages (unreliable) of peers. Every message passes the gate in the
// direction it goes; sizes are summed piece by piece, so no message is ever held whole. It knows no clock and no socket.

import type { ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { ChannelReader, encodePieceHeader, encodePreamble } from "../protocol/channel_frames.ts";
import { Fault } from "../protocol/faults.ts";
import {
  CHANNEL_WINDOW_BYTES,
  MAX_CHANNEL_OPENS_PER_S,
  STREAM_STALL_MS,
} from "../protocol/limits.ts";
import type { ChannelGrant, Grants } from "../permissions/grants.ts";
import { type Gate, isNameOf } from "../permissions/gate.ts";
import { Rule } from "../permissions/rule.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { Stream } from "../transport/connection.ts";
import { ChannelIntake } from "./channel_intake.ts";
import { type Channel, type ChannelPeer, ChannelTable } from "./channel_table.ts";
import type { Counters } from "./counters.ts";
import type { ChannelMessage } from "./peer_link.ts";

/** What the router reports, and the time it counts rates by. */
export interface ChannelEvents {
  /** The present time, ms. */
  now(): number;
  /** To the engine. */
  push(message: ToEngine): void;
  /** A message or channel was refused; `peer` is who tried. */
  denied(peer: number, rule: Rule, channelId: number, remote: boolean): void;
  /** A peer broke the protocol on a stream. */
  violation(peer: number, fault: Fault): void;
  /** A peer's stream brought bytes; false: it waits for `handlePeerReadable`. Left out: none does. */
  mayGoOn?(peer: number, bytes: number): boolean;
}

const OWN_NUMBER_BIT = 0x8000_0000;

/** The channels of one driver. */
export class ChannelRouter {
  readonly #grants: Grants;
  readonly #gate: Gate;
  readonly #events: ChannelEvents;
  readonly #counters: Counters;
  readonly #channels = new ChannelTable();
  /** One limiter a declaration and direction, keyed by peer. */
  readonly #limitsOut: RateLimiter[];
  readonly #limitsIn: RateLimiter[];
  /** How often each peer opens channels, keyed by peer: every one is news for the engine. */
  readonly #opens = new RateLimiter({ rateHz: MAX_CHANNEL_OPENS_PER_S, maxKeys: 0x10000 });
  #next = 1;
  #engineWritable = true;

  constructor(grants: Grants, gate: Gate, events: ChannelEvents, counters: Counters) {
    this.#grants = grants;
    this.#gate = gate;
    this.#events = events;
    this.#counters = counters;
    const maxKeys = 0x10000;
    this.#limitsOut = grants.channels.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys }));
    this.#limitsIn = grants.channels.map(({ rateHz, mode }) =>
      new RateLimiter({ rateHz, maxKeys, stallMs: mode === "reliable" ? STREAM_STALL_MS : 0 })
    );
  }

  /** Channels open now. */
  get openCount(): number {
    return this.#channels.size;
  }

  /** Bytes that wait for a peer to take them, on its channels. */
  bufferedBytes(peer: number): number {
    let bytes = 0;
    for (const { stream } of this.#channels.ofPeer(peer)) bytes += stream?.bufferedBytes ?? 0;
    return bytes;
  }

  // ---- from the engine

  /** The engine opens a channel to `peer`. */
  handleEngineOpen(
    message: Extract<ToDriver, { kind: "channelOpen" }>,
    peer: ChannelPeer | undefined,
  ): void {
    const grant = this.#grants.channels.find((channel) => channel.id === message.channelId);
    const refuse = (rule: Rule) => {
      this.#events.denied(
        peer?.localRole === 0 ? 0 : peer?.peer ?? 0,
        rule,
        message.channelId,
        false,
      );
      this.#events.push({
        kind: "channelClose",
        channel: message.channel,
        reason: `refused: ${rule}`,
      });
    };
    if (grant === undefined) return refuse(Rule.Undeclared);
    if (message.channel >= OWN_NUMBER_BIT || this.#channels.get(message.channel) !== undefined) {
      return refuse(Rule.Format);
    }
    if (peer === undefined) {
      this.#events.push({ kind: "channelClose", channel: message.channel, reason: "no such peer" });
      return;
    }
    const name = message.name === "" ? grant.name : message.name;
    if (!isNameOf(grant, name)) return refuse(Rule.Undeclared);
    if (!this.#mayUse(grant, peer)) return refuse(Rule.Role);
    if (this.#channels.isFull(peer.peer, grant)) return refuse(Rule.ChannelCount);
    const known = this.#channels.find(peer.peer, grant, name);
    if (known !== undefined && grant.mode === "unreliable") {
      // The peer spoke first: the engine's number takes the place of the one the driver made up.
      this.#close(known, "opened by the engine");
    }
    const stream = grant.mode === "reliable" ? peer.openStream() : undefined;
    const channel = this.#channels.add({ number: message.channel, grant, name, peer, stream });
    if (stream !== undefined) {
      this.#listen(channel, stream, undefined);
      stream.write(encodePreamble(grant.id, grant.namespace ? name : ""));
    }
  }

  /** The engine sends a piece of a message. */
  handleEngineData(message: Extract<ToDriver, { kind: "channelData" }>, nowMs: number): void {
    const channel = this.#channels.get(message.channel);
    if (channel === undefined) return;
    const { grant, stream } = channel;
    const { piece, last } = message;
    if (channel.outWindow <= 0 && piece.length > 0) {
      this.#events.denied(-1, Rule.Rate, grant.id, false);
      stream?.reset(CloseCode.ChannelClosed);
      return this.#close(channel, "sent beyond the window");
    }
    channel.outWindow -= piece.length;
    if (channel.outBytes === 0 && !channel.outRefused) {
      const rule = stream === undefined && !last ? Rule.Format : this.#whyNotOut(channel, nowMs);
      if (rule !== undefined) this.#refuseOut(channel, rule);
    }
    const total = channel.outBytes + piece.length;
    if (!channel.outRefused && total > grant.maxBytes) {
      this.#refuseOut(channel, Rule.Size);
      // Part of it has left already: only a reset tells the peer that the rest will not come.
      if (channel.outBytes > 0 && stream !== undefined) {
        stream.reset(Fault.OutOfRange);
        return this.#close(channel, "message above the declared size");
      }
    }
    if (channel.outRefused) {
      channel.outRefused = !last;
      return this.#credit(channel, piece.length);
    }
    channel.outBytes = last ? 0 : total;
    if (stream === undefined) {
      const name = grant.namespace ? channel.name : "";
      if (!channel.peer.queueMessage({ channelId: grant.id, name, body: piece })) {
        this.#counters.add("channel.messagesDropped");
      }
      return this.#credit(channel, piece.length);
    }
    stream.write(encodePieceHeader(piece.length, last));
    const room = stream.write(piece);
    this.#counters.add("channel.bytesOut", piece.length);
    if (room && channel.owedCredit === 0) this.#credit(channel, piece.length);
    else channel.owedCredit += piece.length;
  }

  /** The engine has consumed bytes. */
  handleEngineCredit(message: Extract<ToDriver, { kind: "channelCredit" }>): void {
    const channel = this.#channels.get(message.channel);
    if (channel === undefined) return;
    channel.engineWindow = Math.min(CHANNEL_WINDOW_BYTES, channel.engineWindow + message.bytes);
    this.#repause(channel);
  }

  /** The engine takes messages, or does not: what it cannot take waits at the peers, not here. */
  handleEngineWritable(writable: boolean): void {
    if (writable === this.#engineWritable) return;
    this.#engineWritable = writable;
    for (const channel of this.#channels.values()) this.#repause(channel);
  }

  /** The engine closes a channel. */
  handleEngineClose(message: Extract<ToDriver, { kind: "channelClose" }>): void {
    const channel = this.#channels.get(message.channel);
    if (channel === undefined) return;
    this.#channels.remove(channel);
    // Half a message never ends, and a paused stream never hears that the peer ended it too.
    if (channel.outBytes > 0 || channel.paused) channel.stream?.reset(CloseCode.ChannelClosed);
    else channel.stream?.end();
  }

  // ---- from peers

  /** A peer opened a stream that is not its control stream. */
  handlePeerStream(peer: ChannelPeer, stream: Stream): void {
    if (this.#channels.isPeerFull(peer.peer)) {
      stream.reset(Fault.OutOfRange);
      this.#counters.add("channel.refused");
      return;
    }
    this.#listen(undefined, stream, peer);
  }

  /** An unreliable message of a peer, of a declared channel and size. */
  handlePeerMessage(peer: ChannelPeer, message: ChannelMessage, nowMs: number): void {
    const { channelId, body } = message;
    const grant = this.#grants.channels.find((one) => one.id === channelId)!;
    // Judged before it opens anything.
    if (!this.#acceptIn(grant, peer, nowMs)) return;
    const name = grant.namespace ? message.name : grant.name;
    let channel = this.#channels.find(peer.peer, grant, name);
    if (channel === undefined) {
      if (this.#channels.isFull(peer.peer, grant)) {
        return this.#events.denied(peer.peer, Rule.ChannelCount, grant.id, true);
      }
      channel = this.#openTowardsEngine(peer, grant, name, undefined);
    }
    if (channel.engineWindow < body.length || !this.#engineWritable) {
      this.#counters.add("channel.messagesDropped");
      return;
    }
    channel.engineWindow -= body.length;
    this.#events.push({
      kind: "channelData",
      channel: channel.number,
      piece: body.slice(),
      last: true,
    });
  }

  /** The peer's streams may be read again. */
  handlePeerReadable(peer: number): void {
    for (const channel of this.#channels.ofPeer(peer)) {
      if (!channel.throttled) continue;
      channel.throttled = false;
      this.#repause(channel);
    }
  }

  /** A peer is gone: its channels end. */
  handlePeerGone(peer: number): void {
    for (const channel of this.#channels.ofPeer(peer)) this.#close(channel, "peer gone");
    for (const limit of [...this.#limitsIn, ...this.#limitsOut, this.#opens]) limit.forget(peer);
  }

  // ---- streams

  /** Takes what comes on a stream: of `own`, or of a channel that `opener` is about to open. */
  #listen(own: Channel | undefined, stream: Stream, opener: ChannelPeer | undefined): void {
    let channel = own;
    const reader = new ChannelReader({
      maxBytesFor: (id) =>
        this.#grants.channels.find((c) => c.id === id && c.mode === "reliable")?.maxBytes,
      preamble: own === undefined ? undefined : own.grant.id,
    });
    const intake = new ChannelIntake(reader, {
      open: (channelId, name) => {
        const opened = this.#handlePreamble(opener, channelId, name, stream);
        if (typeof opened === "number") return opened;
        channel = opened;
        return undefined;
      },
      piece: (bytes, last) => {
        // Closed here while the bytes were under way.
        if (channel === undefined || !this.#channels.has(channel)) return;
        this.#handlePiece(channel, bytes, last);
      },
    });
    const fail = (fault: Fault) => {
      stream.reset(fault);
      if (channel !== undefined) this.#close(channel, "protocol violation");
      const peer = channel?.peer ?? opener;
      if (peer !== undefined) this.#events.violation(peer.peer, fault);
    };
    stream.setHandler({
      handleData: (bytes) => {
        const fault = intake.handleData(bytes);
        if (fault !== undefined) return fail(fault);
        const peer = channel?.peer ?? opener;
        if (peer === undefined || this.#events.mayGoOn?.(peer.peer, bytes.length) !== false) return;
        if (channel === undefined || !this.#channels.has(channel)) return;
        channel.throttled = true;
        this.#repause(channel);
      },
      handleEnd: () => {
        const fault = intake.handleEnd();
        if (fault !== undefined) return fail(fault);
        // What the engine has begun to say will not be finished, and an end would look like a mistake.
        if (channel !== undefined && channel.outBytes > 0) stream.reset(CloseCode.ChannelClosed);
        else stream.end();
        if (channel !== undefined) this.#close(channel, "closed by the peer");
      },
      handleReset: () => {
        if (channel !== undefined) this.#close(channel, "reset by the peer");
      },
      handleWritable: () => {
        if (channel === undefined || channel.owedCredit === 0) return;
        const owed = channel.owedCredit;
        channel.owedCredit = 0;
        this.#credit(channel, owed);
      },
    });
  }

  /** The channel that a peer opens, or the fault that resets its stream. */
  #handlePreamble(
    opener: ChannelPeer | undefined,
    channelId: number,
    name: string,
    stream: Stream,
  ): Channel | Fault {
    const grant = this.#grants.channels.find((c) => c.id === channelId)!;
    const fullName = grant.namespace ? name : grant.name;
    if (opener === undefined || !isNameOf(grant, fullName) || (!grant.namespace && name !== "")) {
      return Fault.UnknownId;
    }
    const rule = !this.#mayUse(grant, opener)
      ? Rule.Role
      : this.#channels.isFull(opener.peer, grant)
      ? Rule.ChannelCount
      : !this.#opens.take(opener.peer, this.#events.now())
      ? Rule.Rate
      : undefined;
    if (rule !== undefined) {
      this.#events.denied(opener.peer, rule, grant.id, true);
      return rule === Rule.Rate ? Fault.Flood : Fault.Forbidden;
    }
    return this.#openTowardsEngine(opener, grant, fullName, stream);
  }

  #handlePiece(channel: Channel, piece: Uint8Array, last: boolean): void {
    if (!channel.inStarted) {
      channel.inRefused = !this.#acceptIn(channel.grant, channel.peer, this.#events.now());
    }
    channel.inStarted = !last;
    if (channel.inRefused) return;
    channel.engineWindow -= piece.length;
    this.#counters.add("channel.bytesIn", piece.length);
    this.#events.push({ kind: "channelData", channel: channel.number, piece, last });
    this.#repause(channel);
  }

  #repause(channel: Channel): void {
    const paused = channel.engineWindow <= 0 || channel.throttled || !this.#engineWritable;
    if (paused === channel.paused) return;
    channel.paused = paused;
    channel.stream?.pause(paused);
  }

  // ---- rights

  #mayUse(grant: ChannelGrant, peer: ChannelPeer): boolean {
    return this.#whyNot(grant, peer, "out") === undefined ||
      this.#whyNot(grant, peer, "in") === undefined;
  }

  /** Why no message may go this way over a channel between this end and the peer. */
  #whyNot(grant: ChannelGrant, peer: ChannelPeer, direction: "in" | "out"): Rule | undefined {
    const { localRole, remoteRole } = peer;
    const [sender, receiver] = direction === "out"
      ? [localRole, remoteRole]
      : [remoteRole, localRole];
    const question = { channel: grant.index, direction, bytes: 0 } as const;
    const sent = this.#gate.decideChannel({ ...question, op: "send", roleIndex: sender });
    if (!sent.allowed) return sent.rule;
    const received = this.#gate.decideChannel({
      ...question,
      op: "receive",
      roleIndex: receiver,
    });
    return received.allowed ? undefined : received.rule;
  }

  /** Why the engine may not begin a message now. */
  #whyNotOut({ grant, peer }: Channel, nowMs: number): Rule | undefined {
    const rule = this.#whyNot(grant, peer, "out");
    if (rule !== undefined) return rule;
    return this.#limitsOut[grant.index]!.take(peer.peer, nowMs) ? undefined : Rule.Rate;
  }

  /** Whether a peer may begin a message now; a refusal is reported. */
  #acceptIn(grant: ChannelGrant, peer: ChannelPeer, nowMs: number): boolean {
    const rule = this.#whyNot(grant, peer, "in") ??
      (this.#limitsIn[grant.index]!.take(peer.peer, nowMs) ? undefined : Rule.Rate);
    if (rule === undefined) return true;
    this.#events.denied(peer.peer, rule, grant.id, true);
    return false;
  }

  /** The role at one end has changed: channels that may not be used any more end, and so do messages that may not go on. */
  judgeAgain(peer: number): void {
    for (const channel of this.#channels.ofPeer(peer)) {
      const { grant, stream } = channel;
      const isCut =
        (channel.outBytes > 0 && this.#whyNot(grant, channel.peer, "out") !== undefined) ||
        (channel.inStarted && !channel.inRefused &&
          this.#whyNot(grant, channel.peer, "in") !== undefined);
      if (!isCut && this.#mayUse(grant, channel.peer)) continue;
      stream?.reset(CloseCode.ChannelClosed);
      this.#counters.add("channel.closedByRole");
      this.#close(channel, "the role may not use it any more");
    }
  }

  #refuseOut(channel: Channel, rule: Rule): void {
    channel.outRefused = true;
    this.#events.denied(-1, rule, channel.grant.id, false);
  }

  // ---- towards the engine

  #openTowardsEngine(
    peer: ChannelPeer,
    grant: ChannelGrant,
    name: string,
    stream: Stream | undefined,
  ): Channel {
    const number = (OWN_NUMBER_BIT + this.#next) >>> 0;
    this.#next += 1;
    const channel = this.#channels.add({ number, grant, name, peer, stream });
    this.#events.push({
      kind: "channelOpen",
      channel: number,
      channelId: grant.id,
      name,
      peer: peer.peer,
    });
    return channel;
  }

  #credit(channel: Channel, bytes: number): void {
    channel.outWindow += bytes;
    // The last piece may go beyond the window, so that a whole one and more can be owed.
    for (let left = bytes; left > 0; left -= CHANNEL_WINDOW_BYTES) {
      this.#events.push({
        kind: "channelCredit",
        channel: channel.number,
        bytes: Math.min(left, CHANNEL_WINDOW_BYTES),
      });
    }
  }

  #close(channel: Channel, reason: string): void {
    if (!this.#channels.remove(channel)) return;
    this.#events.push({ kind: "channelClose", channel: channel.number, reason });
  }
}
