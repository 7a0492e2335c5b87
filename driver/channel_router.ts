// Joins the engine's channels with streams (reliable) and datagram messages (unreliable) of peers. Every message passes the gate in the
// direction it goes; sizes are summed piece by piece, so no message is ever held whole. It knows no clock and no socket.

import type { ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { encodePieceHeader, encodePreamble } from "../protocol/channel_frames.ts";
import { Fault } from "../protocol/faults.ts";
import { CHANNEL_WINDOW_BYTES } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import { type Gate, isNameOf } from "../permissions/gate.ts";
import { Rule } from "../permissions/rule.ts";
import type { Stream } from "../transport/connection.ts";
import { ChannelArrivals } from "./channel_arrivals.ts";
import { ChannelBook, type ChannelEvents, OWN_NUMBER_BIT } from "./channel_book.ts";
import { Inlet } from "./channel_inlets.ts";
import type { Channel, ChannelPeer } from "./channel_table.ts";
import type { Counters } from "./counters.ts";
import type { ChannelMessage } from "./peer_link.ts";

/**
 * The channels of one driver.
 *
 * Order of calls: `handle*` any time. When the engine takes messages: `pollReport` until it returns `undefined`; then whatever else the
 * engine is to hear; when nothing of that is left, `pollMessage`. So a channel is never spoken of before its peer is known.
 */
export class ChannelRouter {
  readonly #book: ChannelBook;
  readonly #arrivals: ChannelArrivals;

  constructor(grants: Grants, gate: Gate, events: ChannelEvents, counters: Counters) {
    this.#book = new ChannelBook(grants, gate, events, counters);
    this.#arrivals = new ChannelArrivals(this.#book);
  }

  /** Channels open now. */
  get openCount(): number {
    return this.#book.channels.size;
  }

  // ---- towards the engine

  /** What the engine has to hear of channels that it knows; `undefined` when there is nothing. */
  pollReport(): ToEngine | undefined {
    return this.#arrivals.pollParting() ?? this.#book.reports.poll();
  }

  /** The next message of a peer, or channel that one opened; `undefined` when there is none. */
  pollMessage(): ToEngine | undefined {
    return this.#arrivals.poll() ?? this.pollReport();
  }

  /** The engine takes messages, or does not: what it cannot take waits at the peers, not here. */
  handleEngineWritable(writable: boolean): void {
    this.#book.inlets.setEngineWritable(writable);
  }

  // ---- from the engine

  /** The engine opens a channel to `peer`. */
  handleEngineOpen(
    message: Extract<ToDriver, { kind: "channelOpen" }>,
    peer: ChannelPeer | undefined,
  ): void {
    const grant = this.#book.grants.channels.find((channel) => channel.id === message.channelId);
    const refuse = (rule: Rule) => {
      this.#book.events.denied(
        peer?.localRole === 0 ? 0 : peer?.peer ?? 0,
        rule,
        message.channelId,
        false,
      );
      this.#book.report(message.channel, `refused: ${rule}`);
    };
    if (grant === undefined) return refuse(Rule.Undeclared);
    if (
      message.channel >= OWN_NUMBER_BIT || this.#book.channels.get(message.channel) !== undefined
    ) {
      return refuse(Rule.Format);
    }
    if (peer === undefined) return this.#book.report(message.channel, "no such peer");
    const name = message.name === "" ? grant.name : message.name;
    if (!isNameOf(grant, name)) return refuse(Rule.Undeclared);
    if (!this.#book.rights.mayUse(grant, peer)) return refuse(Rule.Role);
    if (this.#book.channels.isFull(peer.peer, grant)) return refuse(Rule.ChannelCount);
    const known = this.#book.channels.find(peer.peer, grant, name);
    if (known !== undefined && grant.mode === "unreliable") {
      // The peer spoke first: the engine's number takes the place of the one the driver made up.
      this.#book.close(known, "opened by the engine");
      this.#book.inlets.remove(known.inlet);
    }
    const stream = grant.mode === "reliable" ? peer.openStream() : undefined;
    const inlet = new Inlet(peer, stream, stream && this.#book.intake(grant.id));
    this.#book.channels.add({ number: message.channel, grant, name, peer, inlet, isKnown: true });
    this.#book.inlets.add(inlet);
    if (stream === undefined) return;
    this.#arrivals.listen(inlet, stream);
    stream.write(encodePreamble(grant.id, grant.namespace ? name : ""));
  }

  /** The engine sends a piece of a message. */
  handleEngineData(message: Extract<ToDriver, { kind: "channelData" }>, nowMs: number): void {
    const channel = this.#book.channels.get(message.channel);
    if (channel === undefined) return;
    const { grant, peer } = channel;
    const { stream } = channel.inlet;
    const { piece, last } = message;
    if (channel.outWindow <= 0 && piece.length > 0) {
      this.#book.events.denied(-1, Rule.Rate, grant.id, false);
      return this.#book.cut(channel, CloseCode.ChannelClosed, "sent beyond the window");
    }
    channel.outWindow -= piece.length;
    if (channel.outBytes === 0 && !channel.outRefused) {
      const rule = stream === undefined && !last
        ? Rule.Format
        : this.#book.rights.begin(grant, peer, "out", nowMs);
      if (rule !== undefined) this.#refuseOut(channel, rule);
    }
    const total = channel.outBytes + piece.length;
    if (!channel.outRefused && total > grant.maxBytes) {
      this.#refuseOut(channel, Rule.Size);
      // Part of it has left already: only a reset tells the peer that the rest will not come.
      if (channel.outBytes > 0) {
        return this.#book.cut(channel, Fault.OutOfRange, "message above the declared size");
      }
    }
    if (channel.outRefused) {
      channel.outRefused = !last;
      return this.#book.credit(channel, piece.length);
    }
    channel.outBytes = last ? 0 : total;
    if (stream === undefined) {
      const name = grant.namespace ? channel.name : "";
      if (!channel.peer.queueMessage({ channelId: grant.id, name, body: piece })) {
        this.#book.counters.add("channel.messagesDropped");
      }
      return this.#book.credit(channel, piece.length);
    }
    stream.write(encodePieceHeader(piece.length, last));
    const room = stream.write(piece);
    this.#book.counters.add("channel.bytesOut", piece.length);
    if (room && channel.owedCredit === 0) this.#book.credit(channel, piece.length);
    else channel.owedCredit += piece.length;
  }

  /** The engine has consumed bytes. */
  handleEngineCredit(message: Extract<ToDriver, { kind: "channelCredit" }>): void {
    const channel = this.#book.channels.get(message.channel);
    if (channel === undefined) return;
    channel.engineWindow = Math.min(CHANNEL_WINDOW_BYTES, channel.engineWindow + message.bytes);
    this.#book.inlets.update(channel.inlet);
  }

  /** The engine closes a channel. */
  handleEngineClose(message: Extract<ToDriver, { kind: "channelClose" }>): void {
    const channel = this.#book.channels.get(message.channel);
    if (channel === undefined) return;
    const { inlet } = channel;
    this.#book.channels.remove(channel);
    this.#book.reports.forget(channel.number);
    // Half a message never ends, and a paused stream never hears that the peer ended it too.
    const isCut = channel.outBytes > 0 || inlet.isPaused;
    if (isCut) inlet.stream?.reset(CloseCode.ChannelClosed);
    else inlet.stream?.end();
    // Of a stream whose end has come nothing more is heard.
    const isLast = isCut || inlet.stream === undefined || inlet.intake?.hasEnded === true;
    if (isLast) this.#book.inlets.remove(inlet);
    else inlet.stop();
  }

  // ---- from peers

  /** A peer opened a stream that is not its control stream. */
  handlePeerStream(peer: ChannelPeer, stream: Stream): void {
    this.#arrivals.handleStream(peer, stream);
  }

  /** An unreliable message of a peer, of a declared channel and size. */
  handlePeerMessage(peer: ChannelPeer, message: ChannelMessage, nowMs: number): void {
    this.#arrivals.handleMessage(peer, message, nowMs);
  }

  /** Time has passed, and the peer's streams may be read again. */
  handlePeerReadable(peer: number): void {
    if (this.#book.inlets.release(peer)) this.#book.events.wake();
  }

  /** A peer is gone: its channels end. */
  handlePeerGone(peer: number): void {
    this.#arrivals.handleOver(this.#book.inlets.ofPeer(peer));
    for (const channel of this.#book.channels.ofPeer(peer)) this.#book.close(channel, "peer gone");
    this.#book.rights.forget(peer);
  }

  /** The role at one end has changed: channels that may not be used any more end, and so do messages that may not go on. */
  judgeAgain(peer: number): void {
    for (const channel of this.#book.channels.ofPeer(peer)) {
      const { grant, inlet } = channel;
      const isComing = inlet.intake?.isInsideMessage === true && !channel.inRefused;
      const isCut = (channel.outBytes > 0 && this.#mayNot(channel, "out")) ||
        ((channel.inStarted || isComing) && !channel.inRefused && this.#mayNot(channel, "in"));
      if (!isCut && this.#book.rights.mayUse(grant, channel.peer)) continue;
      this.#book.counters.add("channel.closedByRole");
      this.#book.cut(channel, CloseCode.ChannelClosed, "the role may not use it any more");
    }
  }

  // ---- rights

  #mayNot({ grant, peer }: Channel, direction: "in" | "out"): boolean {
    return this.#book.rights.whyNot(grant, peer, direction) !== undefined;
  }

  #refuseOut(channel: Channel, rule: Rule): void {
    channel.outRefused = true;
    this.#book.events.denied(-1, rule, channel.grant.id, false);
  }
}
