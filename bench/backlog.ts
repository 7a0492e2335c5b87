// How long datagrams wait in front of simulated links, seen by standing between the cores and their connections. It changes nothing.

import type { Connection } from "../transport/connection.ts";
import { sequenceOf, WatchedConnection } from "./watched_connection.ts";
import { Worst } from "./worst.ts";

/** How long datagrams wait in front of their links: the time they take beyond that on the wire. */
export class Backlog {
  /** Of each second and direction of a link the longest wait. */
  readonly waits = new Worst();
  readonly #latencyMs: number;
  readonly #sentMs = new Map<string, Float64Array>();
  /** Counts the times that it began anew. */
  #round = 0;

  /** @param latencyMs One way on the wire. */
  constructor(latencyMs: number) {
    this.#latencyMs = latencyMs;
  }

  /** Begins to count anew. */
  clear(): void {
    this.waits.clear();
    this.#round += 1;
  }

  /** Stands between a core and its connection. */
  wrap(
    connection: Connection,
    end: "server" | "client",
    client: number,
    now: () => number,
  ): Connection {
    const [out, back] = end === "server" ? ["down", "up"] : ["up", "down"];
    const sent = this.#times(`${out}${client}`);
    const received = this.#times(`${back}${client}`);
    let [worstMs, windowMs, round] = [0, 0, 0];
    return new WatchedConnection(connection, {
      sending: (bytes) => sent[sequenceOf(bytes)] = now(),
      received: (bytes) => {
        // A second that was under way then is none of what counts.
        if (round !== this.#round) [worstMs, windowMs, round] = [0, now(), this.#round];
        worstMs = Math.max(worstMs, now() - received[sequenceOf(bytes)]! - this.#latencyMs);
        if (now() - windowMs < 1000) return;
        this.waits.add(worstMs);
        [worstMs, windowMs] = [0, now()];
      },
    });
  }

  #times(name: string): Float64Array {
    let times = this.#sentMs.get(name);
    if (times === undefined) this.#sentMs.set(name, times = new Float64Array(0x10000));
    return times;
  }
}
