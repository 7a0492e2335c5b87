// What the age of all that anyone sees in the clog benchmark has to stay within, from what is seen at the connections and after each tick of
// the server: when datagrams go and come, which are lost, and which entities were in them. It never looks at an age.

import { readHeader, readSections } from "../protocol/datagram.ts";
import { assert } from "../protocol/assert.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { Reader } from "../protocol/reader.ts";
import { isInTurn, windowedStalenessBound } from "../replication/staleness_bound.ts";
import type { Connection } from "../transport/connection.ts";
import type { Direction } from "../transport/simulated.ts";
import type { Person } from "./clog_people.ts";
import type { SimRoom } from "./sim_room.ts";
import { sequenceOf, WatchedConnection } from "./watched_connection.ts";

/** Longest window looked at, ticks. */
const WINDOW_TICKS = 64;
/** Datagrams that are known by the low bits of their numbers. */
const SEQUENCES = 0x10000;

/** What the bound was made from. */
export interface BoundParts {
  /** Longest time from a pose's handing over until it has reached the server, with a datagram that did, ms. */
  readonly upMs: number;
  /** Longest time in which no state of a client reached the server, ms. */
  readonly silenceMs: number;
  /** Ticks for which what waits for a viewer does so at most. */
  readonly waitTicks: number;
  /** The window of which that follows, ticks, and how many entities went in turn in each at least. */
  readonly windowTicks: number;
  readonly perWindow: number;
  /** Longest time between two ticks, ms. */
  readonly tickMs: number;
  /** From the first to the last datagram with one entity in it, all lost, ms; NaN where none was. */
  readonly lossMs: number;
  /** Times in a row that what went of one entity was lost. */
  readonly lostInRow: number;
  /** Longest time of a datagram on its way to a client, ms. */
  readonly downMs: number;
  /** Arrivals after which a client did not have what it should: with one the bound says nothing. */
  readonly unkept: number;
}

/** One direction of a client's link. */
class Way {
  readonly sentMs = new Float64Array(SEQUENCES);
  readonly isLost = new Uint8Array(SEQUENCES);
  /** Numbers of those under way, oldest first. */
  readonly underWay: number[] = [];
  /** Longest time of those that arrived, ms. */
  longestMs = 0;
  /** Lost when the datagram that is being sent was given to the link. */
  lostBefore = 0;
}

/** What is known of a client as an owner. */
class Owner {
  id: EntityId = 0;
  /** By number of a datagram up: when the newest pose in it was handed over, ms; NaN of one without state. */
  readonly handedMs = new Float64Array(SEQUENCES);
  /** Datagrams with its state that reached the server. */
  arrivals = 0;
  /** When the last of them did, ms. */
  arrivedMs = 0;
  /** When the newest pose in it was handed over, ms. */
  carriedMs = 0;
  /** What the server had of it in the last tick, hashed. */
  hash = 0;
}

/** Of each owner, as one viewer is told of it. */
class Viewer {
  readonly sequence: Float64Array;
  readonly sentTick: Float64Array;
  /** The owner's arrivals when it was sent last. */
  readonly sentArrivals: Float64Array;
  readonly isLost: Uint8Array;
  /** When the first of those went that were lost in a row, ms. */
  readonly lostMs: Float64Array;
  readonly lostInRow: Int32Array;
  /** By number of a datagram under way: owners in it, and what their viewer has of them then. */
  readonly expected = new Map<number, Expectation[]>();
  /** What it should have by now, of datagrams that came at `checkMs`. */
  readonly checks: Expectation[] = [];
  checkMs = 0;
  /** Ticks in a row up to now in each of which someone waits and is not sent. */
  crowded = 0;
  /** By tick of those, going round: how many went in turn in all up to it. */
  readonly gone = new Float64Array(WINDOW_TICKS + 1);

  constructor(users: number) {
    this.sequence = new Float64Array(users).fill(-1);
    this.sentTick = new Float64Array(users);
    this.sentArrivals = new Float64Array(users);
    this.isLost = new Uint8Array(users);
    this.lostMs = new Float64Array(users);
    this.lostInRow = new Int32Array(users);
  }
}

/** What a viewer should have of an owner. */
interface Expectation {
  readonly owner: number;
  /** A pose handed over then or later, */
  readonly handedMs: number;
  /** or one that is the same. */
  readonly hash: number;
}

/**
 * Makes the bound. Order of calls: `meet` before the room starts, `begin` when counting begins, `settle` at its end.
 *
 * Proof. Let a viewer V get something newer of an owner X at time t, from a datagram that was built at tick b1, and let b0 be the last tick before
 * it at which X went to V and was not lost. With that V had at least the pose of the last datagram of X that had reached the server by b0, or one
 * that is the same: that is checked after each arrival, not assumed (`unkept`). Call r0 the time when that one came: its pose was handed over at r0
 * - `upMs` or later, and the age at t is at most t - r0 + `upMs`.
 *
 * - The next state of X comes by r1 <= r0 + `silenceMs`, whatever is lost on the way up. From the next tick on, at most `tickMs` later, X waits for
 *   V. It does so for `waitTicks` ticks at most, so that it goes by r1 + (`waitTicks` + 1) x `tickMs`.
 * - If that is lost, so is all that goes of X before b1: from the first to the last of it at most `lossMs` pass. That is not the same as datagrams
 *   lost in a row, as those between without X in them may arrive. Then X waits again, when newer state of it has come and after `resendTicks` in
 *   any case, and goes at most (`resendTicks` + `waitTicks`) x `tickMs` after the last that was lost.
 * - What was built at b1 arrives `downMs` later at most.
 *
 * `waitTicks` is {@linkcode windowedStalenessBound} of the least number of entities that went in turn to any viewer in any window of ticks; of all
 * windows up to {@linkcode WINDOW_TICKS} the one that bounds most narrowly. Who waits follows from the same rule: something of its owner has come
 * since it was sent last, or that was lost and is `resendTicks` old. Whatever the sender holds of that, and in whatever order it sends: where it
 * does not send by the line, others go out of turn, fewer count, and the bound grows. Where something is left waiting in fewer than W ticks in a
 * row, nobody waits W ticks.
 *
 * When counting begins, all are taken as just sent, and what viewers have as just handed over: that is how ages are counted. What is under way at
 * the end, or has not come for long, counts with the time that it has taken. Of the path it is asserted that what is not lost arrives, in its
 * order.
 */
export class ClogBound {
  readonly #users: number;
  readonly #resendTicks: number;
  readonly #ups: Way[];
  readonly #downs: Way[];
  readonly #owners: Owner[];
  readonly #viewers: Viewer[];
  /** By length of a window: the least that went in turn in any. */
  readonly #least = new Float64Array(WINDOW_TICKS + 1).fill(Infinity);
  #room: SimRoom | undefined;
  #people: readonly Person[] = [];
  #tick = 0;
  #tickMs = 0;
  #upMs = 0;
  #silenceMs = 0;
  #longestTickMs = 0;
  #lossMs = NaN;
  #lostInRow = 0;
  #unkept = 0;

  /** @param resendTicks Ticks after which what was lost goes again at the longest. */
  constructor(users: number, resendTicks: number) {
    this.#users = users;
    this.#resendTicks = resendTicks;
    const each = <T>(make: () => T) => Array.from({ length: users }, make);
    this.#ups = each(() => new Way());
    this.#downs = each(() => new Way());
    this.#owners = each(() => new Owner());
    this.#viewers = each(() => new Viewer(users));
  }

  /** Stands between a core and its connection. */
  wrap(room: SimRoom, connection: Connection, end: "server" | "client", client: number) {
    const [out, back]: Direction[] = end === "server" ? ["down", "up"] : ["up", "down"];
    const sent = this.#way(out!, client);
    const received = this.#way(back!, client);
    const lost = () => {
      const { lost, overflowed } = room.links[client]!.counters(out!);
      return lost + overflowed;
    };
    return new WatchedConnection(connection, {
      sending: () => sent.lostBefore = lost(),
      sent: (bytes) => {
        const sequence = sequenceOf(bytes);
        sent.sentMs[sequence] = room.network.now;
        const isLost = lost() > sent.lostBefore;
        sent.isLost[sequence] = Number(isLost);
        if (!isLost) sent.underWay.push(sequence);
        if (end === "client") this.#handleSentUp(client, sequence, bytes);
      },
      received: (bytes) => {
        const sequence = sequenceOf(bytes);
        assert(received.underWay.shift() === sequence, "what is not lost comes, in its order");
        const ms = room.network.now - received.sentMs[sequence]!;
        received.longestMs = Math.max(received.longestMs, ms);
        if (end === "server") this.#handleUp(client, sequence, room.network.now);
        else this.#handleDown(client, sequence, room.network.now);
      },
    });
  }

  /** Those who use the room's clients, in their order: to be told before the room starts. */
  meet(people: readonly Person[]): void {
    this.#people = people;
  }

  /** Begins to count, when all are there. */
  begin(room: SimRoom): void {
    const people = this.#people;
    const { core } = room.server;
    this.#room = room;
    this.#tick = core.world.sealedTick;
    this.#tickMs = room.network.now;
    people.forEach(({ peer }, i) =>
      core.world.forEachOwned(peer, (id) => this.#owners[i]!.id = id)
    );
    for (const way of [...this.#ups, ...this.#downs]) way.longestMs = 0;
    for (const [v, viewer] of this.#viewers.entries()) {
      for (let x = 0; x < this.#users; x++) {
        if (x === v) continue;
        viewer.sequence[x] = core.lastSequence(people[v]!.peer, this.#owners[x]!.id);
        viewer.sentTick[x] = this.#tick;
        viewer.sentArrivals[x] = this.#owners[x]!.arrivals;
      }
    }
    this.#silenceMs = 0;
    this.#upMs = 0;
    room.server.onTimer = () => this.#handleTimer();
  }

  /** The end: what has not come yet counts with the time that it has taken. */
  settle(): BoundParts {
    const { now } = this.#room!.network;
    for (const { arrivedMs } of this.#owners) this.#noteSilence(now - arrivedMs);
    for (const way of this.#downs) {
      const oldest = way.underWay[0];
      if (oldest !== undefined) way.longestMs = Math.max(way.longestMs, now - way.sentMs[oldest]!);
    }
    for (const client of this.#viewers.keys()) this.#checkAll(client);
    return {
      ...this.#wait(),
      upMs: this.#upMs,
      silenceMs: this.#silenceMs,
      tickMs: this.#longestTickMs,
      lossMs: this.#lossMs,
      lostInRow: this.#lostInRow,
      downMs: Math.max(...this.#downs.map(({ longestMs }) => longestMs)),
      unkept: this.#unkept,
    };
  }

  #way(direction: Direction, client: number): Way {
    return (direction === "up" ? this.#ups : this.#downs)[client]!;
  }

  #handleSentUp(client: number, sequence: number, bytes: Uint8Array): void {
    const reader = new Reader(bytes);
    readHeader(reader);
    const hasState = readSections(reader)!.snapshot !== undefined;
    const handedMs = hasState ? this.#people[client]!.newestHandedMs : NaN;
    this.#owners[client]!.handedMs[sequence] = handedMs;
  }

  #handleUp(client: number, sequence: number, nowMs: number): void {
    const owner = this.#owners[client]!;
    const handedMs = owner.handedMs[sequence]!;
    if (Number.isNaN(handedMs)) return;
    this.#noteSilence(nowMs - owner.arrivedMs);
    this.#upMs = Math.max(this.#upMs, nowMs - handedMs);
    owner.arrivals += 1;
    owner.arrivedMs = nowMs;
    owner.carriedMs = handedMs;
  }

  #noteSilence(ms: number): void {
    this.#silenceMs = Math.max(this.#silenceMs, ms);
  }

  #handleDown(client: number, sequence: number, nowMs: number): void {
    const { checks, expected, checkMs } = this.#viewers[client]!;
    // What came at this very moment is not handled yet.
    if (nowMs > checkMs) {
      this.#checkAll(client);
      this.#viewers[client]!.checkMs = nowMs;
    }
    const more = expected.get(sequence);
    if (more === undefined) return;
    checks.push(...more);
    expected.delete(sequence);
  }

  #checkAll(client: number): void {
    const { checks } = this.#viewers[client]!;
    // The newest first: where it is kept, those before are.
    for (let i = checks.length - 1; i >= 0; i--) this.#check(client, checks[i]!);
    checks.length = 0;
  }

  #check(client: number, { owner, handedMs, hash }: Expectation): void {
    const person = this.#people[client]!;
    const { peer } = this.#people[owner]!;
    if (person.heldMs(peer) >= handedMs) return;
    const { core } = this.#room!.clients[client]!;
    if (core.hashOf(this.#owners[owner]!.id) === hash) person.confirm(peer, handedMs);
    else this.#unkept += 1;
  }

  #handleTimer(): void {
    const room = this.#room!;
    const tick = room.server.core.world.sealedTick;
    if (tick === this.#tick) return;
    assert(tick === this.#tick + 1, "on virtual time no tick is left out");
    const { now } = room.network;
    this.#tick = tick;
    this.#longestTickMs = Math.max(this.#longestTickMs, now - this.#tickMs);
    this.#tickMs = now;
    const { world } = room.server.core;
    for (const owner of this.#owners) owner.hash = world.hash(owner.id);
    for (let v = 0; v < this.#users; v++) this.#look(v, now);
  }

  /** Looks at what went to a viewer in the tick that has just been, and what waits. */
  #look(v: number, nowMs: number): void {
    const { core } = this.#room!.server;
    const viewer = this.#viewers[v]!;
    const { peer } = this.#people[v]!;
    const tick = this.#tick;
    let isCrowded = false;
    let longest = 0;
    const gone: number[] = [];
    for (let x = 0; x < this.#users; x++) {
      if (x === v) continue;
      const owner = this.#owners[x]!;
      const sequence = core.lastSequence(peer, owner.id);
      const age = tick - viewer.sentTick[x]!;
      if (sequence !== viewer.sequence[x]) {
        gone.push(age);
        viewer.sequence[x] = sequence;
        this.#handleGone(v, x, sequence % SEQUENCES, nowMs);
      } else if (
        owner.arrivals > viewer.sentArrivals[x]! ||
        (viewer.isLost[x] !== 0 && age >= this.#resendTicks)
      ) {
        isCrowded = true;
        longest = Math.max(longest, age);
      }
    }
    if (!isCrowded) {
      viewer.crowded = 0;
      return;
    }
    const size = WINDOW_TICKS + 1;
    const before = viewer.gone[viewer.crowded % size]!;
    viewer.crowded += 1;
    const all = before + gone.filter((age) => isInTurn(age, longest)).length;
    viewer.gone[viewer.crowded % size] = all;
    for (let ticks = 1; ticks <= Math.min(viewer.crowded, WINDOW_TICKS); ticks++) {
      const inWindow = all - viewer.gone[(viewer.crowded - ticks) % size]!;
      if (inWindow < this.#least[ticks]!) this.#least[ticks] = inWindow;
    }
  }

  #handleGone(v: number, x: number, sequence: number, nowMs: number): void {
    const viewer = this.#viewers[v]!;
    const down = this.#downs[v]!;
    const owner = this.#owners[x]!;
    assert(down.sentMs[sequence] === nowMs, "what goes in a tick goes at its time");
    viewer.sentTick[x] = this.#tick;
    viewer.sentArrivals[x] = owner.arrivals;
    const isLost = down.isLost[sequence] !== 0;
    viewer.isLost[x] = Number(isLost);
    if (!isLost) {
      viewer.lostInRow[x] = 0;
      const expected = viewer.expected.get(sequence);
      const one = { owner: x, handedMs: owner.carriedMs, hash: owner.hash };
      if (expected === undefined) viewer.expected.set(sequence, [one]);
      else expected.push(one);
      return;
    }
    if (viewer.lostInRow[x] === 0) viewer.lostMs[x] = nowMs;
    viewer.lostInRow[x]! += 1;
    this.#lostInRow = Math.max(this.#lostInRow, viewer.lostInRow[x]!);
    const lossMs = nowMs - viewer.lostMs[x]!;
    if (!(this.#lossMs >= lossMs)) this.#lossMs = lossMs;
  }

  /** The narrowest bound of all windows. */
  #wait(): Pick<BoundParts, "waitTicks" | "windowTicks" | "perWindow"> {
    const inView = this.#users - 1;
    let best = { waitTicks: Infinity, windowTicks: 0, perWindow: 0 };
    for (let windowTicks = 1; windowTicks <= WINDOW_TICKS; windowTicks++) {
      const perWindow = this.#least[windowTicks]!;
      // Nobody has waited for so long, or nobody's turn is sure.
      const waitTicks = perWindow === Infinity
        ? windowTicks - 1
        : perWindow === 0
        ? Infinity
        : windowedStalenessBound(inView, perWindow, windowTicks);
      if (waitTicks < best.waitTicks) best = { waitTicks, windowTicks, perWindow };
    }
    return best;
  }
}

/** The bound, ms: see {@linkcode ClogBound}. */
export function boundOf(parts: BoundParts, resendTicks: number): number {
  const { upMs, silenceMs, waitTicks, tickMs, lossMs, downMs, unkept } = parts;
  if (unkept > 0) return Infinity;
  const againMs = Number.isNaN(lossMs) ? 0 : lossMs + (resendTicks + waitTicks) * tickMs;
  return upMs + silenceMs + (waitTicks + 1) * tickMs + againMs + downMs;
}
