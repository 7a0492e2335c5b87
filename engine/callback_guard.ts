// Keeps mistakes of game code out of the link: every callback runs to its end or fails alone, and what the link was doing goes on. It knows
// which callbacks there are, not what they mean.

import { EngineCallbacks } from "./link_events.ts";

type Callback = (...values: unknown[]) => unknown;

/**
 * Runs game code's callbacks.
 *
 * An error is handed to `onError` at once where that is set. Otherwise the first one is thrown by `settle`, which the link calls last of all
 * in each of its own calls: the state is whole then, and every other callback has been told.
 */
export class CallbackGuard {
  /** The callbacks of game code as they are set when they are called; none of them throws. */
  readonly callbacks: EngineCallbacks = new EngineCallbacks();
  readonly #game: EngineCallbacks;
  #depth = 0;
  #failures = 0;
  #first: { readonly error: unknown } | undefined;

  /** @param game Where game code sets its callbacks. */
  constructor(game: EngineCallbacks) {
    this.#game = game;
    const set = game as unknown as Readonly<Record<string, Callback | undefined>>;
    const safe = this.callbacks as unknown as Record<string, Callback>;
    for (const name of Object.keys(this.callbacks)) {
      safe[name] = (...values) => {
        const callback = set[name];
        return callback === undefined ? undefined : this.run(() => callback.apply(game, values));
      };
    }
  }

  /** Errors that callbacks threw so far. */
  get failures(): number {
    return this.#failures;
  }

  /** Runs one callback; `undefined` when it throws. */
  run<T>(call: () => T): T | undefined {
    this.#depth += 1;
    try {
      return call();
    } catch (error) {
      this.#failures += 1;
      this.#report(error);
      return undefined;
    } finally {
      this.#depth -= 1;
    }
  }

  /** Throws the first error since the last call, if nobody took it. Inside a callback it does nothing: the call around it will. */
  settle(): void {
    if (this.#depth > 0 || this.#first === undefined) return;
    const { error } = this.#first;
    this.#first = undefined;
    throw error;
  }

  #report(error: unknown): void {
    let left = error;
    try {
      if (this.#game.onError !== undefined) return this.#game.onError(error);
    } catch (second) {
      left = second;
    }
    this.#first ??= { error: left };
  }
}
