// The demo's live table: one row a driver, redrawn in place on a terminal, printed every few seconds where the output is piped.

import type { Actor } from "./stage.ts";

const PIPED_SECONDS = 5;

/** Draws what the drivers report of themselves. */
export class LiveTable {
  readonly #actors: () => readonly Actor[];
  readonly #isTerminal = Deno.stdout.isTerminal();
  readonly #before = new Map<string, { seconds: number; in: number; out: number }>();
  #drawn = 0;
  #next = 1;
  #isRunning = false;

  /** @param actors Everyone, the server first. */
  constructor(actors: () => readonly Actor[]) {
    this.#actors = actors;
  }

  /** Begins. */
  start(): void {
    this.#isRunning = true;
  }

  /** Draws when it is time to. */
  update(seconds: number): void {
    if (!this.#isRunning || seconds < this.#next) return;
    this.#next = Math.floor(seconds) + (this.#isTerminal ? 1 : PIPED_SECONDS);
    const lines = [
      `${
        seconds.toFixed(0).padStart(3)
      } s     peers entities  RTT ms  kB/s in  kB/s out  voice in  voice out  denials`,
      ...this.#actors().map((actor) => this.#row(actor, seconds)),
    ];
    if (this.#isTerminal && this.#drawn > 0) console.log(`\x1b[${this.#drawn + 1}A`);
    for (const line of lines) console.log(this.#isTerminal ? `\x1b[2K${line}` : line);
    this.#drawn = lines.length;
  }

  /** Ends. */
  stop(): void {
    this.#isRunning = false;
  }

  #row(actor: Actor, seconds: number): string {
    const { stats } = actor;
    const now = { seconds, in: stats["net.bytesIn"] ?? 0, out: stats["net.bytesOut"] ?? 0 };
    const before = this.#before.get(actor.name) ?? { seconds: 0, in: 0, out: 0 };
    this.#before.set(actor.name, now);
    const passed = Math.max(0.001, now.seconds - before.seconds);
    const cells = [
      (stats.peers ?? "-").toString().padStart(5),
      (stats.entities ?? 0).toString().padStart(8),
      (stats.rttMaxMs ?? 0).toFixed(1).padStart(7),
      ((now.in - before.in) / passed / 1000).toFixed(1).padStart(8),
      ((now.out - before.out) / passed / 1000).toFixed(1).padStart(9),
      (stats["voice.framesIn"] ?? 0).toString().padStart(9),
      (stats["voice.framesOut"] ?? 0).toString().padStart(10),
      (stats.denials ?? 0).toString().padStart(8),
    ];
    return `${actor.name.padEnd(9)} ${cells.join(" ")}`;
  }
}
