// What comes from peers on channels, on its way to the engine: each message judged when its turn comes, and passed on piece by piece. What the
// engine cannot take yet waits at its peer. What the engine says, and who may close what, is the router's.

import type { ToEngine } from "../protocol/engine_messages.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { Fault } from "../protocol/faults.ts";
import {
  MAX_LOOSE_MESSAGES,
  MAX_PARTING_BYTES,
  MAX_PARTING_COST,
  MAX_PARTING_MESSAGES,
  STREAM_CHUNK_COST,
} from "../protocol/limits.ts";
import type { ChannelGrant } from "../permissions/grants.ts";
import { isNameOf } from "../permissions/gate.ts";
import { Rule } from "../permissions/rule.ts";
import type { Stream } from "../transport/connection.ts";
import type { ChannelBook } from "./channel_book.ts";
import { Inlet } from "./channel_inlets.ts";
import type { IntakeStep } from "./channel_intake.ts";
import type { Channel, ChannelPeer } from "./channel_table.ts";
import type { ChannelMessage } from "./peer_link.ts";

/** Bytes of a message on the engine link beside its contents, as far as they are counted. */
const MESSAGE_BYTES = 64;

/** Everything that peers send on channels of one driver. */
export class ChannelArrivals {
  readonly #book: ChannelBook;
  /** The last messages of channels that their peers have just ended: they go before the end. */
  readonly #parting: ToEngine[] = [];
  #partingBytes = 0;
  /** What may be spent on messages that are drawn before an end. */
  #partingCost = Infinity;

  /** @param book The channels, which the router shares. */
  constructor(book: ChannelBook) {
    this.#book = book;
  }

  /** The next message of a channel that has just ended. */
  pollParting(): ToEngine | undefined {
    const message = this.#parting.shift();
    if (message === undefined) this.#partingBytes = 0;
    return message;
  }

  /** The next message of a peer, or channel that one opened; `undefined` when there is none. */
  poll(): ToEngine | undefined {
    return this.#book.inlets.poll((inlet) => this.#isSpent(inlet) ? undefined : this.#draw(inlet));
  }

  /** A peer opened a stream that is not its control stream. */
  handleStream(peer: ChannelPeer, stream: Stream): void {
    if (this.#book.channels.isPeerFull(peer.peer) || this.#book.inlets.isFull(peer.peer)) {
      stream.reset(Fault.OutOfRange);
      this.#book.counters.add("channel.refused");
      return;
    }
    const inlet = new Inlet(peer, stream, this.#book.intake(undefined));
    this.#book.inlets.add(inlet);
    this.listen(inlet, stream);
  }

  /** An unreliable message of a peer, of a declared channel and size. */
  handleMessage(peer: ChannelPeer, message: ChannelMessage, nowMs: number): void {
    const { channelId, body } = message;
    const grant = this.#book.grants.channels.find((one) => one.id === channelId)!;
    // Judged before it opens anything.
    if (!this.#mayBegin(grant, peer, nowMs)) return;
    const name = grant.namespace ? message.name : grant.name;
    let channel = this.#book.channels.find(peer.peer, grant, name);
    if (channel === undefined) {
      if (this.#book.channels.isFull(peer.peer, grant)) {
        return this.#book.events.denied(peer.peer, Rule.ChannelCount, grant.id, true);
      }
      const inlet = new Inlet(peer, undefined, undefined);
      const number = this.#book.ownNumber();
      channel = this.#book.channels.add({ number, grant, name, peer, inlet, isKnown: false });
      this.#book.inlets.add(inlet);
    }
    const { inlet, engineWindow } = channel;
    if (
      engineWindow < body.length || inlet.loose.length >= MAX_LOOSE_MESSAGES ||
      !this.#book.inlets.isEngineWritable
    ) {
      this.#book.counters.add("channel.messagesDropped");
      return;
    }
    channel.engineWindow -= body.length;
    inlet.loose.push(body.slice());
    this.#book.inlets.update(inlet);
    this.#book.events.wake();
  }

  /** Takes what comes on a stream. */
  listen(inlet: Inlet, stream: Stream): void {
    const intake = inlet.intake!;
    stream.setHandler({
      handleData: (bytes) => {
        // Bytes that nobody waits for any more cost their reading all the same.
        this.#charge(inlet, STREAM_CHUNK_COST + (inlet.isOver ? bytes.length : 0));
        intake.handleData(bytes);
        this.#book.inlets.update(inlet);
        this.#book.events.wake();
      },
      handleEnd: () => {
        if (inlet.isOver) return this.#book.inlets.remove(inlet);
        intake.handleEnd();
        this.#book.inlets.update(inlet);
        this.#book.events.wake();
      },
      handleReset: () => {
        this.handleOver([inlet]);
        if (inlet.channel !== undefined) this.#book.close(inlet.channel, "reset by the peer");
      },
      handleWritable: () => {
        const { channel } = inlet;
        if (channel === undefined || channel.owedCredit === 0) return;
        const owed = channel.owedCredit;
        channel.owedCredit = 0;
        if (this.#book.channels.has(channel)) this.#book.credit(channel, owed);
      },
    });
  }

  #charge(inlet: Inlet, cost: number): void {
    this.#partingCost -= cost;
    const { peer } = inlet.peer;
    const mayGoOn = this.#book.events.mayGoOn?.(peer, cost) !== false && this.#partingCost > 0;
    if (!mayGoOn) inlet.isThrottled = true;
  }

  /** The next message out of an inlet, as far as its window and allowance reach. */
  /** Whether another stream of the peer has used up its allowance: then this one waits, before anything of it is looked at. */
  #isSpent(inlet: Inlet): boolean {
    if (this.#book.events.mayGoOn?.(inlet.peer.peer, 0) !== false) return false;
    inlet.isThrottled = true;
    return true;
  }

  #draw(inlet: Inlet): ToEngine | undefined {
    while (inlet.hasMore && inlet.mayGoOn) {
      const { channel, intake, heldOpen } = inlet;
      if (channel?.isKnown === false) {
        channel.isKnown = true;
        return this.#opening(channel);
      }
      const body = inlet.loose.shift();
      if (body !== undefined) {
        return { kind: "channelData", channel: channel!.number, piece: body, last: true };
      }
      let step: IntakeStep | undefined;
      if (heldOpen !== undefined) step = { kind: "open", ...heldOpen };
      else {
        step = intake!.advance();
        this.#charge(inlet, intake!.takeCost());
      }
      const message = step && this.#handleStep(inlet, step);
      if (message !== undefined) return message;
    }
    return undefined;
  }

  /** Nothing more comes in by these inlets. What came before goes to the engine, where it takes messages, and as far as that is little. */
  handleOver(inlets: readonly Inlet[]): void {
    this.#partingCost = MAX_PARTING_COST;
    for (const inlet of inlets) {
      this.#drawLast(inlet);
      this.#book.inlets.remove(inlet);
    }
    this.#partingCost = Infinity;
  }

  #drawLast(inlet: Inlet): void {
    while (
      this.#book.inlets.isEngineWritable && this.#parting.length < MAX_PARTING_MESSAGES &&
      this.#partingBytes < MAX_PARTING_BYTES
    ) {
      const message = this.#draw(inlet);
      if (message === undefined) return;
      this.#parting.push(message);
      this.#partingBytes += MESSAGE_BYTES +
        (message.kind === "channelData" ? message.piece.length : 0);
    }
  }

  #handleStep(inlet: Inlet, step: IntakeStep): ToEngine | undefined {
    switch (step.kind) {
      case "open":
        return this.#handlePreamble(inlet, step.channelId, step.name);
      case "piece":
        return this.#handlePiece(inlet.channel!, step.bytes, step.last);
      case "end":
        return this.#handleEnd(inlet);
      case "fault":
        return this.#fail(inlet, step.fault);
    }
  }

  /** A peer opens a channel. Whether it may is a matter of rights: a refusal resets the stream, and is nobody's fault. */
  #handlePreamble(inlet: Inlet, channelId: number, name: string): ToEngine | undefined {
    const { peer } = inlet;
    const grant = this.#book.grants.channels.find((c) => c.id === channelId)!;
    const fullName = grant.namespace ? name : grant.name;
    if (!isNameOf(grant, fullName) || (!grant.namespace && name !== "")) {
      return this.#fail(inlet, Fault.UnknownId);
    }
    const rule = !this.#book.rights.mayUse(grant, peer)
      ? Rule.Role
      : this.#book.channels.isFull(peer.peer, grant)
      ? Rule.ChannelCount
      : undefined;
    if (rule !== undefined) {
      this.#book.events.denied(peer.peer, rule, grant.id, true);
      inlet.stream!.reset(Fault.Forbidden);
      this.#book.inlets.remove(inlet);
      return undefined;
    }
    if (!this.#book.rights.takeOpen(peer.peer, this.#book.events.now())) {
      if (inlet.heldOpen === undefined) this.#book.counters.add("channel.opensHeld");
      inlet.heldOpen = { channelId, name };
      inlet.isThrottled = true;
      return undefined;
    }
    inlet.heldOpen = undefined;
    const number = this.#book.ownNumber();
    return this.#opening(
      this.#book.channels.add({ number, grant, name: fullName, peer, inlet, isKnown: true }),
    );
  }

  #handlePiece(channel: Channel, piece: Uint8Array, last: boolean): ToEngine | undefined {
    if (!channel.inStarted) {
      channel.inRefused = !this.#mayBegin(channel.grant, channel.peer, this.#book.events.now());
    }
    channel.inStarted = !last;
    // The peer may have been dropped for it.
    if (channel.inRefused || !this.#book.channels.has(channel)) return undefined;
    channel.engineWindow -= piece.length;
    this.#book.counters.add("channel.bytesIn", piece.length);
    return { kind: "channelData", channel: channel.number, piece, last };
  }

  #handleEnd(inlet: Inlet): undefined {
    const { channel } = inlet;
    // What the engine has begun to say will not be finished, and an end would look like a mistake.
    if (channel !== undefined && channel.outBytes > 0) {
      inlet.stream!.reset(CloseCode.ChannelClosed);
    } else inlet.stream!.end();
    this.#book.inlets.remove(inlet);
    if (channel !== undefined) this.#book.close(channel, "closed by the peer");
  }

  #fail(inlet: Inlet, fault: Fault): undefined {
    inlet.stream!.reset(fault);
    this.#book.inlets.remove(inlet);
    if (inlet.channel !== undefined) this.#book.close(inlet.channel, "protocol violation");
    this.#book.events.violation(inlet.peer.peer, fault);
  }

  /** Whether a peer may begin a message now; a refusal is reported. */
  #mayBegin(grant: ChannelGrant, peer: ChannelPeer, nowMs: number): boolean {
    const rule = this.#book.rights.begin(grant, peer, "in", nowMs);
    if (rule === undefined) return true;
    this.#book.events.denied(peer.peer, rule, grant.id, true);
    return false;
  }

  #opening({ number, grant, name, peer }: Channel): ToEngine {
    return { kind: "channelOpen", channel: number, channelId: grant.id, name, peer: peer.peer };
  }
}
