// Where messages of peers wait for the engine: at their streams, and for unreliable channels in short queues. The engine's side draws them
// one by one, each inlet in its turn; what is not drawn stays at its peer, whose stream is paused. What is in them is the router's question.

import type { ToEngine } from "../protocol/engine_messages.ts";
import { MAX_OPEN_CHANNELS, SPARE_STREAMS } from "../protocol/limits.ts";
import type { Stream } from "../transport/connection.ts";
import type { ChannelIntake } from "./channel_intake.ts";
import type { Channel, ChannelPeer } from "./channel_table.ts";

/** What comes from one peer on one stream, or on one unreliable channel. */
export class Inlet {
  /** Who is at the other end. */
  readonly peer: ChannelPeer;
  /** `undefined` for an unreliable channel. */
  readonly stream: Stream | undefined;
  /** What waits of the stream. */
  readonly intake: ChannelIntake | undefined;
  /** Messages that wait, of an unreliable channel. */
  readonly loose: Uint8Array[] = [];
  /** The channel, from its opening on. */
  channel: Channel | undefined;
  /** A preamble that was read and whose turn has not come: its peer opens many. */
  heldOpen: { readonly channelId: number; readonly name: string } | undefined;
  /** Its peer has used up what it may bring in this tick. */
  isThrottled = false;
  /** The channel is closed; what still comes is read and dropped. */
  isOver = false;
  #isPaused = false;

  /** An inlet that nothing has come in by. */
  constructor(peer: ChannelPeer, stream: Stream | undefined, intake: ChannelIntake | undefined) {
    this.peer = peer;
    this.stream = stream;
    this.intake = intake;
  }

  /** The stream is not read. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Anything waits. */
  get hasMore(): boolean {
    return this.loose.length > 0 || this.heldOpen !== undefined || this.intake?.hasMore === true;
  }

  /** The engine's window and the peer's allowance let something through; loose messages have their part of the window already. */
  get mayGoOn(): boolean {
    return !this.isOver && !this.isThrottled &&
      (this.stream === undefined || this.channel === undefined || this.channel.engineWindow > 0);
  }

  /** Stops or resumes the stream, by what it has to wait for. */
  repause(isEngineWritable: boolean): void {
    const paused = this.isThrottled ||
      (!this.isOver && (!isEngineWritable || !this.mayGoOn || this.intake?.isFull === true));
    if (paused === this.#isPaused) return;
    this.#isPaused = paused;
    this.stream?.pause(paused);
  }

  /** Drops what waits. */
  stop(): void {
    this.isOver = true;
    this.heldOpen = undefined;
    this.loose.length = 0;
    this.intake?.stop();
  }
}

/** All inlets of one driver. */
export class ChannelInlets {
  readonly #byPeer = new Map<number, Set<Inlet>>();
  /** Those with something to draw, in the order of their turns. */
  readonly #ready = new Set<Inlet>();
  #isEngineWritable = true;

  /** The engine takes messages. */
  get isEngineWritable(): boolean {
    return this.#isEngineWritable;
  }

  /** Whether the peer has as many inlets without a channel, or with a closed one, as channels could come of. */
  isFull(peer: number): boolean {
    let count = 0;
    for (const { channel, isOver } of this.#byPeer.get(peer) ?? []) {
      if (channel === undefined || isOver) count += 1;
    }
    return count >= MAX_OPEN_CHANNELS + SPARE_STREAMS;
  }

  /** Something may come in here from now on. */
  add(inlet: Inlet): void {
    const { peer } = inlet.peer;
    const ofPeer = this.#byPeer.get(peer);
    if (ofPeer === undefined) this.#byPeer.set(peer, new Set([inlet]));
    else ofPeer.add(inlet);
    inlet.repause(this.#isEngineWritable);
  }

  /** Nothing comes in here any more. */
  remove(inlet: Inlet): void {
    inlet.stop();
    this.#ready.delete(inlet);
    const { peer } = inlet.peer;
    const ofPeer = this.#byPeer.get(peer);
    ofPeer?.delete(inlet);
    if (ofPeer?.size === 0) this.#byPeer.delete(peer);
  }

  /** A copy of the inlets of one peer. */
  ofPeer(peer: number): Inlet[] {
    return [...this.#byPeer.get(peer) ?? []];
  }

  /** Something has changed: more waits, or what waits may go on. */
  update(inlet: Inlet): void {
    if (inlet.hasMore && inlet.mayGoOn) this.#ready.add(inlet);
    inlet.repause(this.#isEngineWritable);
  }

  /** The engine takes messages, or does not: every stream stops or resumes at once. */
  setEngineWritable(writable: boolean): void {
    if (writable === this.#isEngineWritable) return;
    this.#isEngineWritable = writable;
    for (const ofPeer of this.#byPeer.values()) {
      for (const inlet of ofPeer) inlet.repause(writable);
    }
  }

  /** The peer may bring more again; returns whether anything had waited for it. */
  release(peer: number): boolean {
    let hasWaited = false;
    for (const inlet of this.#byPeer.get(peer) ?? []) {
      if (!inlet.isThrottled) continue;
      hasWaited = true;
      inlet.isThrottled = false;
      this.update(inlet);
    }
    return hasWaited;
  }

  /** The next message; `draw` takes one out of an inlet that has something, or finds that there is none. */
  poll(draw: (inlet: Inlet) => ToEngine | undefined): ToEngine | undefined {
    for (const inlet of this.#ready) {
      // Whoever has more gets to the end of the line.
      this.#ready.delete(inlet);
      const message = draw(inlet);
      this.update(inlet);
      if (message !== undefined) return message;
    }
    return undefined;
  }
}
