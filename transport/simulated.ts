// A network in memory on virtual time: two or more ends, bad links, and a seed that makes every run the same. Nothing moves until its
// owner advances the clock.

import { assert } from "../protocol/assert.ts";
import { Prng } from "../protocol/prng.ts";
import type { Connection, Listener } from "./connection.ts";
import { EventQueue } from "./event_queue.ts";
import { MuxConnection } from "./mux_connection.ts";
import { SimulatedCarrier } from "./simulated_carrier.ts";
import {
  type LinkConditions,
  type LinkCounters,
  PERFECT_LINK,
  SimulatedLink,
} from "./simulated_link.ts";
import { TransportError, TransportErrorCode } from "./transport_error.ts";

export { type LinkConditions, type LinkCounters, PERFECT_LINK };

/** Which way: `up` from the connector to the acceptor, `down` back. */
export type Direction = "up" | "down";

/** Conditions of both directions, or of each; what is not named is as in {@linkcode PERFECT_LINK}. */
export type PairConditions =
  | Partial<LinkConditions>
  | { readonly up?: Partial<LinkConditions>; readonly down?: Partial<LinkConditions> };

/** Two connected ends and the link between them. */
export interface SimulatedPair {
  /** The end that connected. */
  readonly connector: Connection;
  /** The end that accepted. */
  readonly acceptor: Connection;
  /** Changes conditions from now on; both directions unless one is named. */
  change(conditions: Partial<LinkConditions>, direction?: Direction): void;
  /** One end dies without a word: it makes and gets no more calls, and the other end hears nothing until its idle time-out. */
  kill(end: "connector" | "acceptor"): void;
  /** What happened to the packets of one direction. */
  counters(direction: Direction): Readonly<LinkCounters>;
}

interface ListenerEntry {
  readonly onConnection: (connection: Connection, pair: SimulatedPair) => void;
}

function partOf(conditions: PairConditions, direction: Direction): LinkConditions {
  const sided = conditions as Partial<Record<Direction, Partial<LinkConditions>>>;
  const part = "up" in conditions || "down" in conditions ? sided[direction] : conditions;
  return { ...PERFECT_LINK, ...part };
}

/**
 * Connections over simulated links on virtual time. The same seed and the same calls give the same run, to the bit.
 *
 * @example
 * ```ts
 * const network = new SimulatedNetwork(7);
 * const { connector, acceptor } = network.connect({ latencyMs: 40, lossRate: 0.05 });
 * network.advanceTo(1_000);
 * ```
 */
export class SimulatedNetwork {
  readonly #events = new EventQueue();
  readonly #prng: Prng;
  readonly #listeners = new Map<string, ListenerEntry>();
  readonly #clock = (): number => this.#now;
  #now = 0;

  /** A network at time 0. @param seed A seed, or a source of numbers that the network may draw from. */
  constructor(seed: number | Prng) {
    this.#prng = typeof seed === "number" ? new Prng(seed) : seed;
  }

  /** The virtual time, ms since the network was made. */
  get now(): number {
    return this.#now;
  }

  /** When something happens next, ms; `undefined` when nothing is under way. */
  get nextEventMs(): number | undefined {
    return this.#events.nextMs;
  }

  /** Runs `action` at a virtual time: how owners put their ticks and polls on the same clock. */
  at(atMs: number, action: () => void): void {
    this.#events.push(Math.max(atMs, this.#now), action);
  }

  /** Goes to the next event and runs it; false when there is none. */
  step(): boolean {
    const atMs = this.#events.nextMs;
    if (atMs === undefined) return false;
    this.#now = Math.max(this.#now, atMs);
    this.#events.pop()!();
    return true;
  }

  /** Runs everything up to and at `toMs`; the clock then says `toMs`. */
  advanceTo(toMs: number): void {
    assert(toMs >= this.#now, "virtual time does not run back");
    while ((this.#events.nextMs ?? Infinity) <= toMs) this.step();
    this.#now = toMs;
  }

  /** Two ends that are connected already. */
  connect(conditions: PairConditions = {}): SimulatedPair {
    // Each direction draws from its own source, so that traffic one way does not change the fate of the other.
    const link = (direction: Direction) =>
      new SimulatedLink(
        this.#events,
        this.#clock,
        this.#prng.fork(),
        partOf(conditions, direction),
      );
    const up = link("up");
    const down = link("down");
    const near = new SimulatedCarrier(this.#events, this.#clock, up, down);
    const far = new SimulatedCarrier(this.#events, this.#clock, down, up);
    const connector = new MuxConnection(near, { isConnector: true, label: "simulated" });
    const acceptor = new MuxConnection(far, { isConnector: false, label: "simulated" });
    near.join(connector, far);
    far.join(acceptor, near);
    return {
      connector,
      acceptor,
      change: (part, direction) => {
        if (direction !== "down") up.change(part);
        if (direction !== "up") down.change(part);
      },
      kill: (end) => (end === "connector" ? connector : acceptor).kill(),
      counters: (direction) => (direction === "up" ? up : down).counters,
    };
  }

  /**
   * Accepts connections under `name`.
   *
   * @throws {TransportError} `address-in-use` when the name is taken.
   */
  listen(
    name: string,
    onConnection: (connection: Connection, pair: SimulatedPair) => void,
  ): Listener {
    if (this.#listeners.has(name)) {
      throw new TransportError(
        TransportErrorCode.AddressInUse,
        `something already listens on "${name}" in this network: choose another name`,
      );
    }
    const entry: ListenerEntry = { onConnection };
    this.#listeners.set(name, entry);
    return {
      address: name,
      close: () => {
        if (this.#listeners.get(name) === entry) this.#listeners.delete(name);
      },
    };
  }

  /**
   * Connects to `name`: the listener gets its end one way later, the caller its own after the round trip. Loss does not touch this
   * handshake. `onResult` gets an error (`refused`) where nothing listens.
   */
  dial(
    name: string,
    conditions: PairConditions,
    onResult: (result: Connection | TransportError, pair?: SimulatedPair) => void,
  ): void {
    const thereMs = this.#now + partOf(conditions, "up").latencyMs;
    const backMs = thereMs + partOf(conditions, "down").latencyMs;
    this.at(thereMs, () => {
      const entry = this.#listeners.get(name);
      if (entry === undefined) {
        const error = new TransportError(
          TransportErrorCode.Refused,
          `nothing listens on "${name}" in this network: start the listener first`,
        );
        this.at(backMs, () => onResult(error));
        return;
      }
      const pair = this.connect(conditions);
      this.at(backMs, () => onResult(pair.connector, pair));
      entry.onConnection(pair.acceptor, pair);
    });
  }
}
