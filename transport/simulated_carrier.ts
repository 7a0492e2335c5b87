// Carries a connection's frames over a lossy simulated link: retransmits what is lost, puts each stream's frames in order, notices
// silence. A model of what QUIC does, exact enough for its delays, not for its congestion control.

import { IDLE_TIMEOUT_MS, KEEP_ALIVE_MS } from "../protocol/limits.ts";
import type { EventQueue } from "./event_queue.ts";
import type { Carrier, MuxConnection } from "./mux_connection.ts";
import { FrameKind, type MuxFrame } from "./mux_frame.ts";
import type { SimulatedLink } from "./simulated_link.ts";

/** Bytes of a frame without payload. */
const FRAME_BYTES = 16;
/** Shortest wait, ms, before a lost frame is sent again, beyond the round trip. */
const RETRANSMIT_SLACK_MS = 10;
/** Longest wait, ms, before a lost frame is sent again. */
const MAX_RETRANSMIT_MS = 1_000;

/** What a stream's direction still misses. */
interface Reassembly {
  next: number;
  readonly held: Map<number, MuxFrame>;
}

/** One end's carrier over two {@linkcode SimulatedLink}s. Call `join` before anything else. */
export class SimulatedCarrier implements Carrier {
  readonly #events: EventQueue;
  readonly #now: () => number;
  readonly #out: SimulatedLink;
  readonly #back: SimulatedLink;
  readonly #sendOrder = new Map<number, number>();
  readonly #reassembly = new Map<number, Reassembly>();
  #connection: MuxConnection | undefined;
  #peer: SimulatedCarrier | undefined;
  #heardMs: number;
  #wakeSet = false;
  #released = false;

  /** A carrier at rest until `join`. @param out The direction away from this end, `back` the one towards it. */
  constructor(events: EventQueue, now: () => number, out: SimulatedLink, back: SimulatedLink) {
    this.#events = events;
    this.#now = now;
    this.#out = out;
    this.#back = back;
    this.#heardMs = now();
  }

  /** Names the connection this carrier serves and the carrier at the other end, and begins keep-alive. */
  join(connection: MuxConnection, peer: SimulatedCarrier): void {
    this.#connection = connection;
    this.#peer = peer;
    this.#keepAlive();
    this.#watchIdle();
  }

  get maxDatagramSize(): number {
    return this.#out.conditions.datagramSize;
  }

  get maxDataBytes(): number {
    return this.#out.conditions.datagramSize;
  }

  get isReady(): boolean {
    const readyAtMs = this.#out.readyAtMs;
    if (readyAtMs <= this.#now()) return true;
    if (!this.#wakeSet) {
      this.#wakeSet = true;
      this.#events.push(readyAtMs, () => {
        this.#wakeSet = false;
        if (!this.#released) this.#connection!.handleReady();
      });
    }
    return false;
  }

  sendDatagram(bytes: Uint8Array): boolean {
    const peer = this.#peer!;
    this.#out.sendDatagram(bytes, (copy) => peer.#receiveDatagram(copy));
    return true;
  }

  sendFrame(frame: MuxFrame): void {
    if (frame.kind === FrameKind.Close || frame.kind === FrameKind.Credit) {
      this.#transmit(frame, -1, 0);
      return;
    }
    const order = this.#sendOrder.get(frame.stream) ?? 0;
    if (frame.kind === FrameKind.Data) {
      this.#sendOrder.set(frame.stream, order + 1);
      this.#transmit({ ...frame, bytes: frame.bytes.slice() }, order, 0);
    } else {
      // Nothing follows a reset; an end may be followed by one.
      if (frame.kind === FrameKind.Reset) this.#sendOrder.delete(frame.stream);
      else this.#sendOrder.set(frame.stream, order + 1);
      this.#transmit(frame, order, 0);
    }
  }

  defer(action: () => void): void {
    this.#events.push(this.#now(), action);
  }

  release(): void {
    this.#released = true;
  }

  #transmit(frame: MuxFrame, order: number, attempt: number): void {
    // A closed end still repeats its close frame; a killed one (no connection is over without a close) sends nothing more.
    if (this.#released && frame.kind !== FrameKind.Close) return;
    const size = FRAME_BYTES + (frame.kind === FrameKind.Data ? frame.bytes.length : 0);
    const peer = this.#peer!;
    if (this.#out.sendPacket(size, () => peer.#receiveFrame(frame, order))) return;
    if (peer.#released) return;
    const roundTripMs = this.#out.conditions.latencyMs + this.#out.conditions.jitterMs +
      this.#back.conditions.latencyMs + this.#back.conditions.jitterMs;
    const waitMs = Math.min(
      MAX_RETRANSMIT_MS,
      (roundTripMs + RETRANSMIT_SLACK_MS) * 2 ** Math.min(attempt, 6),
    );
    this.#events.push(this.#now() + waitMs, () => this.#transmit(frame, order, attempt + 1));
  }

  #receiveDatagram(bytes: Uint8Array): void {
    if (this.#released) return;
    this.#heardMs = this.#now();
    this.#connection!.handleDatagram(bytes);
  }

  #receiveFrame(frame: MuxFrame, order: number): void {
    if (this.#released) return;
    this.#heardMs = this.#now();
    if (frame.kind === FrameKind.Close || frame.kind === FrameKind.Credit) {
      this.#connection!.handleFrame(frame);
      return;
    }
    let stream = this.#reassembly.get(frame.stream);
    if (stream === undefined) {
      stream = { next: 0, held: new Map() };
      this.#reassembly.set(frame.stream, stream);
    }
    stream.held.set(order, frame);
    for (;;) {
      const next = stream.held.get(stream.next);
      if (next === undefined) return;
      stream.held.delete(stream.next);
      stream.next += 1;
      if (next.kind === FrameKind.Reset) this.#reassembly.delete(next.stream);
      this.#connection!.handleFrame(next);
    }
  }

  #keepAlive(): void {
    if (this.#released) return;
    const peer = this.#peer!;
    this.#out.sendPacket(FRAME_BYTES, () => {
      if (!peer.#released) peer.#heardMs = peer.#now();
    });
    this.#events.push(this.#now() + KEEP_ALIVE_MS, () => this.#keepAlive());
  }

  #watchIdle(): void {
    if (this.#released) return;
    const dueMs = this.#heardMs + IDLE_TIMEOUT_MS;
    if (this.#now() >= dueMs) this.#connection!.handleLost("timed out");
    else this.#events.push(dueMs, () => this.#watchIdle());
  }
}
