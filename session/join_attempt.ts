// One connection that has not joined: how far its join has come, and the account of its bytes. All that is held of a stranger is this and one
// unfinished message of bounded size. It knows no connection and sends nothing.

import { assert } from "../protocol/assert.ts";
import { CHALLENGE_BYTES, MAX_BYTES_BEFORE_JOIN } from "../protocol/limits.ts";

/** What is expected next; `judging`: nothing, the answer is ours to give, once a proof's signatures are checked or its turn has come. */
export type JoinStage = "join" | "proof" | "judging";

/**
 * State of one attempt.
 *
 * Order of calls: `handleBytes` before any byte is kept; `challenge` after the join where the world wants a proof; `takeChallenge` with the
 * proof; `wait` where nothing is missing but its turn. `room` and `spend` before anything is sent: until it has joined, a connection is never sent more than it sent.
 */
export class JoinAttempt {
  /** When it must have joined, ms. */
  readonly deadlineMs: number;
  #stage: JoinStage = "join";
  #challenge: Uint8Array | undefined;
  #bytesIn = 0;
  #bytesOut = 0;

  /** Begins with a fresh connection. */
  constructor(deadlineMs: number) {
    this.deadlineMs = deadlineMs;
  }

  /** What is expected next. */
  get stage(): JoinStage {
    return this.#stage;
  }

  /** Bytes that may be sent now. */
  get room(): number {
    return this.#bytesIn - this.#bytesOut;
  }

  /** Counts bytes that came; false when they are more than joining takes: they must not be kept. */
  handleBytes(count: number): boolean {
    if (this.#bytesIn + count > MAX_BYTES_BEFORE_JOIN) return false;
    this.#bytesIn += count;
    return true;
  }

  /** Counts bytes that are sent, at most {@linkcode JoinAttempt.room}. */
  spend(count: number): void {
    assert(count <= this.room, "a stranger is never sent more than it sent");
    this.#bytesOut += count;
  }

  /** Nothing more is expected of it. */
  wait(): void {
    assert(this.#stage === "join", "who has been challenged has to prove something first");
    this.#stage = "judging";
  }

  /** Expects a proof for these random bytes. */
  challenge(random32: Uint8Array): void {
    assert(this.#stage === "join", "a connection is challenged once");
    assert(random32.length === CHALLENGE_BYTES, "a challenge has 32 bytes");
    this.#stage = "proof";
    this.#challenge = random32;
  }

  /** The challenge that a proof must answer; it is good for one. */
  takeChallenge(): Uint8Array {
    const challenge = this.#challenge;
    assert(this.#stage === "proof" && challenge !== undefined, "a proof answers a challenge");
    this.#stage = "judging";
    this.#challenge = undefined;
    return challenge;
  }
}
