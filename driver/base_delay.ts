// The round-trip time of a path that carries nothing of ours: the shortest of the last minute, as nobody tells it. Time is an argument.

/** Time over which the shortest round trip counts, ms, and the parts in which it is forgotten. */
const BASE_MS = 60_000;
const BASE_PARTS = 6;
/** Parts for which the base is not guessed a second time: it would follow a queue that creeps. */
const GUESS_PARTS = 30;

/** The shortest round trip of the last seconds. */
export class BaseDelay {
  /** That of each part. */
  readonly #parts = new Float64Array(BASE_PARTS).fill(Infinity);
  #part = 0;
  #partEndsMs: number;
  #guessParts = 0;

  /** One that knows nothing yet. */
  constructor(nowMs: number) {
    this.#partEndsMs = nowMs + BASE_MS / BASE_PARTS;
  }

  /** In ms; infinite where nothing is known. */
  get ms(): number {
    let base = Infinity;
    for (let i = 0; i < BASE_PARTS; i++) base = Math.min(base, this.#parts[i]!);
    return base;
  }

  /** Whether it may be raised on suspicion: once in five minutes. */
  get mayGuess(): boolean {
    return this.#guessParts === 0;
  }

  /** A round trip took this long, ms. */
  add(ms: number): void {
    this.#parts[this.#part] = Math.min(this.#parts[this.#part]!, ms);
  }

  /** Time has passed; `shortestMs` is the shortest round trip of the present round, infinite without any. */
  advance(nowMs: number, shortestMs: number): void {
    if (nowMs < this.#partEndsMs) return;
    this.#part = (this.#part + 1) % BASE_PARTS;
    this.#parts[this.#part] = shortestMs;
    this.#partEndsMs = nowMs + BASE_MS / BASE_PARTS;
    if (this.#guessParts > 0) this.#guessParts -= 1;
  }

  /** The path takes so long now, ms: the times before mean nothing any more. */
  raise(ms: number, isGuess: boolean): void {
    this.#parts.fill(ms);
    if (isGuess) this.#guessParts = GUESS_PARTS;
  }
}
