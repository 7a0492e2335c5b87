// One timer for all clients of a load process. Each client has something to do several times a tick, and a timer of its own for each would
// cost more than the work.

/** What is due within this time, ms, is done at once. */
const SLACK_MS = 0.25;

/** What is called: `run` no later than `dueMs`, ms on the clock of `performance.now`. */
export interface TimedClient {
  readonly dueMs: number;
  run(nowMs: number): void;
}

/** Calls clients when they are due. */
export class LoadTimer {
  readonly #clients: TimedClient[] = [];
  readonly #woken = new Set<TimedClient>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #isFlushing = false;

  /** Calls this one from now on. */
  add(client: TimedClient): void {
    this.#clients.push(client);
  }

  /** Calls it no more. */
  remove(client: TimedClient): void {
    const at = this.#clients.indexOf(client);
    if (at >= 0) this.#clients.splice(at, 1);
    this.#woken.delete(client);
  }

  /** It has something to do in this turn. */
  wake(client: TimedClient): void {
    this.#woken.add(client);
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      const nowMs = performance.now();
      for (const one of this.#woken) {
        this.#woken.delete(one);
        one.run(nowMs);
        this.#arm(one.dueMs, nowMs);
      }
    });
  }

  #arm(dueMs: number, nowMs: number): void {
    if (dueMs >= this.#timerAt - SLACK_MS) return;
    clearTimeout(this.#timer);
    this.#timerAt = dueMs;
    this.#timer = setTimeout(() => this.#fire(), Math.max(0, Math.ceil(dueMs - nowMs)));
  }

  #fire(): void {
    this.#timerAt = Infinity;
    const clients = this.#clients;
    let next = Infinity;
    for (let i = 0; i < clients.length; i++) {
      const client = clients[i]!;
      const nowMs = performance.now();
      if (client.dueMs <= nowMs + SLACK_MS) client.run(nowMs);
      next = Math.min(next, client.dueMs);
    }
    if (next < Infinity) this.#arm(next, performance.now());
  }
}
