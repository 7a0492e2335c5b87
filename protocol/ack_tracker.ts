// Which datagrams of one peer arrived: refuses repeats and writes the acknowledgements that go back. It knows nothing of their contents;
// a datagram is reported here only after all of it was found good, because an acknowledgement means "decoded and held".

import { assert } from "./assert.ts";
import { ACK_DELAY_UNITS_PER_MS, ACK_DELAY_UNKNOWN, type AckBlock } from "./datagram.ts";
import { ACK_BLOCK_SPAN, ACK_WINDOW, MAX_UNACKED_RECEIVED } from "./limits.ts";

/** What a sequence number is to the receiver. `old`: behind the window, so that nobody knows. */
export type Receipt = "new" | "duplicate" | "old";

/**
 * The receiver's window over one peer's datagrams.
 *
 * Order of calls for each datagram: {@linkcode AckTracker.check} before the body is looked at, {@linkcode AckTracker.handleReceived} once
 * the whole of it was found good. {@linkcode AckTracker.writeBlock} for each datagram that goes back.
 */
export class AckTracker {
  readonly #received = new Uint8Array(ACK_WINDOW);
  #largest = -1;
  /** All from this one to the largest were received. */
  #runFrom = 0;
  #largestMs = 0;
  #unacked = 0;

  /** Newest sequence number received, whole; -1 before the first. Unwrap sequence numbers from the wire against it. */
  get largest(): number {
    return this.#largest;
  }

  /** Datagrams that ask for an acknowledgement and came since the last block was written. */
  get unackedCount(): number {
    return this.#unacked;
  }

  /** An acknowledgement should go with this send slot, even if nothing else does. */
  get needsAck(): boolean {
    return this.#unacked > 0;
  }

  /** An acknowledgement must go now, without waiting for the send slot. */
  get isAckOverdue(): boolean {
    return this.#unacked >= MAX_UNACKED_RECEIVED;
  }

  /** What a datagram with this whole sequence number would be, without noting it. */
  check(sequence: number): Receipt {
    if (sequence > this.#largest) return "new";
    if (sequence < 0 || sequence <= this.#largest - ACK_WINDOW) return "old";
    return this.#received[sequence % ACK_WINDOW] === 1 ? "duplicate" : "new";
  }

  /**
   * Notes a good datagram. `asksForAck` is false for one without sections: answering those would never end.
   * Only `new` changes anything.
   */
  handleReceived(sequence: number, nowMs: number, asksForAck = true): Receipt {
    const receipt = this.check(sequence);
    if (receipt !== "new") return receipt;
    if (sequence > this.#largest) {
      const skipped = Math.min(sequence - this.#largest - 1, ACK_WINDOW);
      for (let i = 1; i <= skipped; i++) this.#received[(sequence - i) % ACK_WINDOW] = 0;
      if (sequence !== this.#largest + 1) this.#runFrom = sequence;
      this.#largest = sequence;
      this.#largestMs = nowMs;
    }
    this.#received[sequence % ACK_WINDOW] = 1;
    // Late ones join what came after them; those behind the window have no place any more.
    const oldest = Math.max(0, this.#largest - ACK_WINDOW + 1);
    while (this.#runFrom > oldest && this.#received[(this.#runFrom - 1) % ACK_WINDOW] === 1) {
      this.#runFrom -= 1;
    }
    if (asksForAck) this.#unacked += 1;
    return receipt;
  }

  /** The acknowledgement to send now, over the last `ACK_BLOCK_SPAN` datagrams; `undefined` before the first datagram came. */
  writeBlock(nowMs: number): AckBlock | undefined {
    if (this.#largest < 0) return undefined;
    assert(nowMs >= this.#largestMs, "time does not run back");
    this.#unacked = 0;
    const oldest = Math.max(0, this.#largest - ACK_BLOCK_SPAN + 1);
    const lengths = SCRATCH;
    let last = 0;
    const run = this.#largest - Math.max(oldest, this.#runFrom) + 1;
    lengths[0] = run;
    let at = (this.#largest - run + ACK_WINDOW) % ACK_WINDOW;
    for (let left = this.#largest - oldest + 1 - run; left > 0; left--) {
      const isRun = (last & 1) === 0;
      if ((this.#received[at] === 1) !== isRun) lengths[++last] = 0;
      lengths[last] = lengths[last]! + 1;
      at = at === 0 ? ACK_WINDOW - 1 : at - 1;
    }
    const count = (last & 1) === 0 ? last + 1 : last;
    const delay = Math.floor((nowMs - this.#largestMs) * ACK_DELAY_UNITS_PER_MS);
    return {
      largest: this.#largest & 0xffff,
      delayUnits: Math.min(delay, ACK_DELAY_UNKNOWN),
      ranges: lengths.slice(0, count),
    };
  }
}

// Used within one call only, so that all trackers may share it.
const SCRATCH = new Uint16Array(ACK_BLOCK_SPAN);
