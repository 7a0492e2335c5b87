// Joins the engine's channels with streams (reliable) and datagram messages (unreliable) of peers. Every message passes the gate in the
// direction it goes; sizes are summed piece by piece, so no message is ever held whole. It knows no clock and no socket.

import type { ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { ChannelReader, encodePieceHeader, encodePreamble } from "../protocol/channel_frames.ts";
import { Fault } from "../protocol/faults.ts";
import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  MAX_OPEN_CHANNELS,
  MAX_PLAIN_CHANNELS,
} from "../protocol/limits.ts";
import type { ChannelGrant, Grants } from "../permissions/grants.ts";
import { type Gate, isNameOf } from "../permissions/gate.ts";
import { Rule } from "../permissions/rule.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { Stream } from "../transport/connection.ts";
import type { Counters } from "./counters.ts";
import type { ChannelMessage } from "./peer_link.ts";

/** What the router needs to know of the peer at the other end of a channel. */
export interface ChannelPeer {
  /** Its peer id, as the engine knows it. */
  readonly peer: number;
  /** Role that its messages are judged by. */
  readonly remoteRole: number;
  /** Role that our own engine's messages are judged by. */
  readonly localRole: number;
  /** Opens a stream to it. */
  openStream(): Stream;
  /** Queues one unreliable message; false when it was dropped. */
  queueMessage(message: ChannelMessage): boolean;
}

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
}

interface Channel {
  readonly number: number;
  readonly grant: ChannelGrant;
  readonly name: string;
  readonly peer: ChannelPeer;
  readonly stream: Stream | undefined;
  /** Bytes of the outgoing message so far; a refused one is swallowed up to its end. */
  outBytes: number;
  outRefused: boolean;
  inRefused: boolean;
  inStarted: boolean;
  /** Bytes that may still go to the engine before it grants more. */
  engineWindow: number;
  paused: boolean;
  /** Bytes taken from the engine that are not credited back yet, because the stream is full. */
  owedCredit: number;
}

const OWN_NUMBER_BIT = 0x8000_0000;

/** The channels of one driver. */
export class ChannelRouter {
  readonly #grants: Grants;
  readonly #gate: Gate;
  readonly #events: ChannelEvents;
  readonly #counters: Counters;
  readonly #channels = new Map<number, Channel>();
  /** One limiter a declaration and direction, keyed by peer. */
  readonly #limitsOut: RateLimiter[];
  readonly #limitsIn: RateLimiter[];
  #next = 1;
  #engineWritable = true;

  constructor(grants: Grants, gate: Gate, events: ChannelEvents, counters: Counters) {
    this.#grants = grants;
    this.#gate = gate;
    this.#events = events;
    this.#counters = counters;
    const limiter = ({ rateHz }: ChannelGrant) => new RateLimiter({ rateHz, maxKeys: 0x10000 });
    this.#limitsOut = grants.channels.map(limiter);
    this.#limitsIn = grants.channels.map(limiter);
  }

  /** Channels open now. */
  get openCount(): number {
    return this.#channels.size;
  }

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
    if (message.channel >= OWN_NUMBER_BIT || this.#channels.has(message.channel)) {
      return refuse(Rule.Format);
    }
    if (peer === undefined) {
      this.#events.push({ kind: "channelClose", channel: message.channel, reason: "no such peer" });
      return;
    }
    if (!isNameOf(grant, message.name)) return refuse(Rule.Undeclared);
    if (!this.#mayUse(grant, peer)) return refuse(Rule.Role);
    if (
      this.#countOf(peer.peer) >= MAX_OPEN_CHANNELS ||
      this.#countOf(peer.peer, grant) >= openLimit(grant)
    ) {
      return refuse(Rule.ChannelCount);
    }
    const known = this.#find(peer.peer, grant, message.name);
    if (known !== undefined && grant.mode === "unreliable") {
      // The peer spoke first: the engine's number takes the place of the one the driver made up.
      this.#channels.delete(known.number);
      this.#events.push({
        kind: "channelClose",
        channel: known.number,
        reason: "opened by the engine",
      });
    }
    const stream = grant.mode === "reliable" ? peer.openStream() : undefined;
    const channel = this.#add(message.channel, grant, message.name, peer, stream);
    if (stream !== undefined) {
      this.#listen(channel, stream, undefined);
      stream.write(encodePreamble(grant.id, grant.namespace ? message.name : ""));
    }
  }

  /** The engine sends a piece of a message. */
  handleEngineData(message: Extract<ToDriver, { kind: "channelData" }>, nowMs: number): void {
    const channel = this.#channels.get(message.channel);
    if (channel === undefined) return;
    const { grant, peer } = channel;
    if (channel.outBytes === 0 && !channel.outRefused) {
      const decision = this.#gate.decideChannel({
        channel: grant.index,
        roleIndex: peer.localRole,
        op: "send",
        direction: "out",
        bytes: 0,
      });
      const received = this.#gate.decideChannel({
        channel: grant.index,
        roleIndex: peer.remoteRole,
        op: "receive",
        direction: "out",
        bytes: 0,
      });
      const rule = !decision.allowed
        ? decision.rule
        : !received.allowed
        ? received.rule
        : !this.#limitsOut[grant.index]!.take(peer.peer, nowMs)
        ? Rule.Rate
        : undefined;
      if (rule !== undefined) this.#refuseOut(channel, rule);
    }
    const total = channel.outBytes + message.piece.length;
    if (!channel.outRefused && total > grant.maxBytes) {
      this.#refuseOut(channel, Rule.Size);
      // Part of it has left already: only a reset tells the peer that the rest will not come.
      if (channel.outBytes > 0 && channel.stream !== undefined) {
        channel.stream.reset(Fault.OutOfRange);
        this.#close(channel, "message above the declared size");
        return;
      }
    }
    if (channel.outRefused) {
      this.#credit(channel, message.piece.length);
      if (message.last) {
        channel.outRefused = false;
        channel.outBytes = 0;
      } else channel.outBytes = total;
      return;
    }
    channel.outBytes = message.last ? 0 : total;
    if (channel.stream === undefined) {
      const name = grant.namespace ? channel.name : "";
      const body = message.piece;
      if (!message.last || !peer.queueMessage({ channelId: grant.id, name, body })) {
        this.#counters.add("channel.messagesDropped");
      }
      this.#credit(channel, message.piece.length);
      return;
    }
    channel.stream.write(encodePieceHeader(message.piece.length, message.last));
    const room = channel.stream.write(message.piece);
    this.#counters.add("channel.bytesOut", message.piece.length);
    if (room && channel.owedCredit === 0) this.#credit(channel, message.piece.length);
    else channel.owedCredit += message.piece.length;
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

  #repause(channel: Channel): void {
    const paused = channel.engineWindow <= 0 || !this.#engineWritable;
    if (paused === channel.paused) return;
    channel.paused = paused;
    channel.stream?.pause(paused);
  }

  /** The engine closes a channel. */
  handleEngineClose(message: Extract<ToDriver, { kind: "channelClose" }>): void {
    const channel = this.#channels.get(message.channel);
    if (channel === undefined) return;
    this.#channels.delete(channel.number);
    // Half a message never ends, and a paused stream never hears that the peer ended it too.
    if (channel.outBytes > 0 || channel.paused) channel.stream?.reset(CloseCode.ChannelClosed);
    else channel.stream?.end();
  }

  /** A peer opened a stream that is not its control stream. */
  handlePeerStream(peer: ChannelPeer, stream: Stream): void {
    if (this.#countOf(peer.peer) >= MAX_OPEN_CHANNELS) {
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
    const name = grant.namespace ? message.name : grant.name;
    let channel = this.#find(peer.peer, grant, name);
    if (channel === undefined) {
      const rule = !this.#mayUse(grant, peer)
        ? Rule.Role
        : this.#countOf(peer.peer) >= MAX_OPEN_CHANNELS ||
            this.#countOf(peer.peer, grant) >= openLimit(grant)
        ? Rule.ChannelCount
        : undefined;
      if (rule !== undefined) return this.#events.denied(peer.peer, rule, grant.id, true);
      channel = this.#openTowardsEngine(peer, grant, name, undefined);
    }
    if (!this.#acceptIn(channel, nowMs)) return;
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

  /** A peer is gone: its channels end. */
  handlePeerGone(peer: number): void {
    for (const channel of [...this.#channels.values()]) {
      if (channel.peer.peer === peer) this.#close(channel, "peer gone");
    }
    for (const limit of [...this.#limitsIn, ...this.#limitsOut]) limit.forget(peer);
  }

  #mayUse(grant: ChannelGrant, peer: ChannelPeer): boolean {
    const out = (grant.sendRoles & (1 << peer.localRole)) !== 0 &&
      (grant.receiveRoles & (1 << peer.remoteRole)) !== 0 && grant.hostSend;
    const into = (grant.sendRoles & (1 << peer.remoteRole)) !== 0 &&
      (grant.receiveRoles & (1 << peer.localRole)) !== 0 && grant.hostReceive;
    return out || into;
  }

  #acceptIn(channel: Channel, nowMs: number): boolean {
    const { grant, peer } = channel;
    const sent = this.#gate.decideChannel({
      channel: grant.index,
      roleIndex: peer.remoteRole,
      op: "send",
      direction: "in",
      bytes: 0,
    });
    const received = this.#gate.decideChannel({
      channel: grant.index,
      roleIndex: peer.localRole,
      op: "receive",
      direction: "in",
      bytes: 0,
    });
    const rule = !sent.allowed
      ? sent.rule
      : !received.allowed
      ? received.rule
      : !this.#limitsIn[grant.index]!.take(peer.peer, nowMs)
      ? Rule.Rate
      : undefined;
    if (rule === undefined) return true;
    this.#events.denied(peer.peer, rule, grant.id, true);
    return false;
  }

  #listen(own: Channel | undefined, stream: Stream, opener: ChannelPeer | undefined): void {
    let channel = own;
    const reader = new ChannelReader({
      maxBytesFor: (id) =>
        this.#grants.channels.find((c) => c.id === id && c.mode === "reliable")?.maxBytes,
      preamble: own === undefined ? undefined : own.grant.id,
    });
    const fail = (fault: Fault) => {
      stream.reset(fault);
      if (channel !== undefined) this.#close(channel, "protocol violation");
      const peer = channel?.peer ?? opener;
      if (peer !== undefined) this.#events.violation(peer.peer, fault);
    };
    const sink = {
      open: (channelId: number, name: string) => {
        const grant = this.#grants.channels.find((c) => c.id === channelId)!;
        const fullName = grant.namespace ? name : grant.name;
        if (
          opener === undefined || !isNameOf(grant, fullName) || (!grant.namespace && name !== "")
        ) {
          reader.fail(Fault.UnknownId);
          return;
        }
        if (!this.#mayUse(grant, opener) || this.#countOf(opener.peer, grant) >= openLimit(grant)) {
          this.#events.denied(
            opener.peer,
            this.#mayUse(grant, opener) ? Rule.ChannelCount : Rule.Role,
            grant.id,
            true,
          );
          reader.fail(Fault.Forbidden);
          return;
        }
        channel = this.#openTowardsEngine(opener, grant, fullName, stream);
      },
      piece: (bytes: Uint8Array, last: boolean) => {
        if (channel === undefined) return;
        // Closed here while the bytes were under way.
        if (this.#channels.get(channel.number) !== channel) return;
        if (!channel.inStarted) channel.inRefused = !this.#acceptIn(channel, this.#events.now());
        channel.inStarted = !last;
        if (channel.inRefused) return;
        channel.engineWindow -= bytes.length;
        this.#counters.add("channel.bytesIn", bytes.length);
        this.#events.push({
          kind: "channelData",
          channel: channel.number,
          piece: bytes.slice(),
          last,
        });
        this.#repause(channel);
      },
    };
    stream.setHandler({
      handleData: (bytes) => {
        // Pieces stay small enough for one engine frame whatever the transport's chunks are.
        for (
          let at = 0;
          at < bytes.length && reader.fault === undefined;
          at += CHANNEL_PIECE_BYTES
        ) {
          reader.handleBytes(bytes.subarray(at, at + CHANNEL_PIECE_BYTES), sink);
        }
        if (reader.fault !== undefined) fail(reader.fault);
      },
      handleEnd: () => {
        const fault = reader.handleEnd();
        if (fault !== undefined) return fail(fault);
        stream.end();
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

  #openTowardsEngine(
    peer: ChannelPeer,
    grant: ChannelGrant,
    name: string,
    stream: Stream | undefined,
  ): Channel {
    const number = (OWN_NUMBER_BIT + this.#next) >>> 0;
    this.#next += 1;
    const channel = this.#add(number, grant, name, peer, stream);
    this.#events.push({
      kind: "channelOpen",
      channel: number,
      channelId: grant.id,
      name,
      peer: peer.peer,
    });
    return channel;
  }

  #add(
    number: number,
    grant: ChannelGrant,
    name: string,
    peer: ChannelPeer,
    stream: Stream | undefined,
  ): Channel {
    const channel: Channel = {
      number,
      grant,
      name,
      peer,
      stream,
      outBytes: 0,
      outRefused: false,
      inRefused: false,
      inStarted: false,
      engineWindow: CHANNEL_WINDOW_BYTES,
      paused: false,
      owedCredit: 0,
    };
    this.#channels.set(number, channel);
    return channel;
  }

  #find(peer: number, grant: ChannelGrant, name: string): Channel | undefined {
    for (const channel of this.#channels.values()) {
      if (channel.peer.peer === peer && channel.grant === grant && channel.name === name) {
        return channel;
      }
    }
    return undefined;
  }

  #countOf(peer: number, grant?: ChannelGrant): number {
    let count = 0;
    for (const channel of this.#channels.values()) {
      if (channel.peer.peer === peer && (grant === undefined || channel.grant === grant)) {
        count += 1;
      }
    }
    return count;
  }

  #refuseOut(channel: Channel, rule: Rule): void {
    channel.outRefused = true;
    this.#events.denied(-1, rule, channel.grant.id, false);
  }

  #credit(channel: Channel, bytes: number): void {
    if (bytes === 0) return;
    this.#events.push({ kind: "channelCredit", channel: channel.number, bytes });
  }

  #close(channel: Channel, reason: string): void {
    if (!this.#channels.delete(channel.number)) return;
    this.#events.push({ kind: "channelClose", channel: channel.number, reason });
  }
}

function openLimit(grant: ChannelGrant): number {
  return grant.namespace ? grant.maxOpen : MAX_PLAIN_CHANNELS;
}
