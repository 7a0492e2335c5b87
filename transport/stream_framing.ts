// The frames inside one QUIC stream. QUIC could end and reset a stream by itself, but the runtime turns a reset into a plain end and
// carries no code, so both are said in the stream. Knows bytes and order, not who reads or writes them.

import { Fault } from "../protocol/faults.ts";
import { MAX_APPLICATION_CODE, MAX_STREAM_FRAME_BYTES } from "../protocol/limits.ts";
import { Writer } from "../protocol/writer.ts";

/** What one direction of a stream says. */
export const StreamEventKind = { Data: 0, End: 1, Reset: 2, Fault: 3 } as const;

/** One thing a {@linkcode StreamDeframer} found. */
export type StreamEvent =
  | { readonly kind: typeof StreamEventKind.Data; readonly bytes: Uint8Array }
  | { readonly kind: typeof StreamEventKind.End }
  | { readonly kind: typeof StreamEventKind.Reset; readonly code: number }
  | { readonly kind: typeof StreamEventKind.Fault; readonly fault: Fault };

/** Second byte of an end frame; the first is 0. */
const END = 0;
/** Second byte of a reset frame; a u32 code follows. */
const RESET = 1;

/** The bytes of a data frame with `data` (may be empty: then nothing), followed by an end or a reset where asked for. */
export function encodeStreamFrames(
  data: Uint8Array,
  ending?: "end" | { readonly resetCode: number },
): Uint8Array {
  const writer = new Writer(data.length + 16);
  if (data.length > 0) {
    writer.varint(data.length);
    writer.bytes(data);
  }
  if (ending === "end") {
    writer.u8(0);
    writer.u8(END);
  } else if (ending !== undefined) {
    writer.u8(0);
    writer.u8(RESET);
    writer.u32(ending.resetCode);
  }
  return writer.view();
}

const State = { Length: 0, Payload: 1, Control: 2, Code: 3, Over: 4 } as const;

/**
 * Takes a stream's bytes in any chunks and gives its events one by one. Order: `push`, then `poll` until it answers `undefined`.
 * The first fault or reset is the last event.
 */
export class StreamDeframer {
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  #state: typeof State[keyof typeof State] = State.Length;
  #number = 0;
  #taken = 0;
  #ended = false;

  /** Whether an end frame was seen. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether nothing more can follow. */
  get isOver(): boolean {
    return this.#state === State.Over;
  }

  /** Takes the next bytes; all events of those before must have been polled. */
  push(bytes: Uint8Array): void {
    this.#chunk = bytes;
    this.#at = 0;
  }

  /** The next event, or `undefined` when more bytes are needed. */
  poll(): StreamEvent | undefined {
    while (this.#at < this.#chunk.length) {
      switch (this.#state) {
        case State.Length: {
          const event = this.#length(this.#chunk[this.#at++]!);
          if (event !== undefined) return event;
          break;
        }
        case State.Payload: {
          const count = Math.min(this.#number, this.#chunk.length - this.#at);
          const bytes = this.#chunk.subarray(this.#at, this.#at + count);
          this.#at += count;
          this.#number -= count;
          if (this.#number === 0) this.#state = State.Length;
          return { kind: StreamEventKind.Data, bytes };
        }
        case State.Control: {
          const byte = this.#chunk[this.#at++]!;
          if (byte === RESET) {
            this.#state = State.Code;
            break;
          }
          if (byte !== END) return this.#fail(Fault.UnknownKind);
          if (this.#ended) return this.#fail(Fault.Unexpected);
          this.#ended = true;
          this.#state = State.Length;
          return { kind: StreamEventKind.End };
        }
        case State.Code: {
          this.#number += this.#chunk[this.#at++]! * 2 ** (8 * this.#taken);
          this.#taken += 1;
          if (this.#taken < 4) break;
          if (this.#number > MAX_APPLICATION_CODE) return this.#fail(Fault.OutOfRange);
          this.#state = State.Over;
          return { kind: StreamEventKind.Reset, code: this.#number };
        }
        case State.Over:
          // Whatever a peer sends after its reset, nobody hears it.
          this.#at = this.#chunk.length;
      }
    }
    return undefined;
  }

  #length(byte: number): StreamEvent | undefined {
    this.#number += (byte & 0x7f) * 2 ** (7 * this.#taken);
    this.#taken += 1;
    if (this.#number > MAX_STREAM_FRAME_BYTES) return this.#fail(Fault.OutOfRange);
    if (byte >= 0x80) return this.#taken < 3 ? undefined : this.#fail(Fault.OutOfRange);
    if (byte === 0 && this.#taken > 1) return this.#fail(Fault.NonCanonical);
    this.#taken = 0;
    if (this.#number === 0) {
      this.#state = State.Control;
      return undefined;
    }
    if (this.#ended) return this.#fail(Fault.Unexpected);
    this.#state = State.Payload;
    return undefined;
  }

  #fail(fault: Fault): StreamEvent {
    this.#state = State.Over;
    return { kind: StreamEventKind.Fault, fault };
  }
}
