// How much work one peer may cause: an allowance out of the rates that its role is granted, counted in units of work and refilled by ticks, so
// that the same bytes at the same ticks always meet the same answer. It knows no connection and measures no time.

import {
  MAX_DATAGRAMS_PER_TICK,
  MAX_OPEN_CHANNELS,
  MAX_OVER_BUDGET_MS,
  MAX_PEER_DATAGRAMS_PER_S,
  MIN_DATAGRAM_BYTES,
  MIN_PEER_DATAGRAMS_PER_S,
  PEER_STREAM_BYTES_PER_S,
  RATE_TOLERANCE,
  SNAPSHOT_PIECE_BYTES,
  STREAM_CHUNK_COST,
  STREAM_MESSAGE_CHUNKS,
  STREAM_MESSAGE_COST,
  STREAM_PIECE_COST,
  VOICE_SLOT_MS,
  WORK_BURST_S,
  WORK_CHUNK,
  WORK_CONTROL,
  WORK_DATAGRAM,
  WORK_ENTRY,
  WORK_MESSAGE,
  WORK_RESERVE,
  WORK_STREAM,
  WORK_VECTOR,
  WORK_VOICE_FRAME,
} from "../protocol/limits.ts";
import type { ComponentGrant, FieldKind, Grants } from "../permissions/grants.ts";

/** What a peer of one role may cause, a second. */
export interface WorkAllowance {
  /** Units of work. */
  readonly units: number;
  /** Datagrams, each of which costs even where little is in it. */
  readonly datagrams: number;
  /** What its channels' streams cost, in bytes. */
  readonly stream: number;
}

/** What one message of a reliable channel costs beside its bytes. */
const STREAM_MESSAGE = STREAM_MESSAGE_COST + STREAM_PIECE_COST +
  STREAM_MESSAGE_CHUNKS * STREAM_CHUNK_COST;

/** What may be foretold. */
const MOVING: readonly FieldKind[] = ["vec3", "quat"];
/** Beside its values an entry has entity, component and version. */
const ENTRY_BYTES = 8;
/** Levels by which a tick over the allowance outweighs one within it. */
const OVER_WEIGHT = 4;

/** Ticks that one late tick counts for at most. */
const MAX_COUNTED_TICKS = 4;

/** Most bytes of one value. */
function valueBytes(component: ComponentGrant): number {
  let bytes = ENTRY_BYTES;
  for (const { lanes, bits, maxBytes } of component.fields) {
    bytes += Math.ceil(lanes * bits / 8) + (maxBytes === 0 ? 0 : maxBytes + 2);
  }
  return bytes;
}

/**
 * What a peer of a role that owns `owned` entities may cause, a second: its declared rates times the entities it may have, with the gate's
 * tolerance and a reserve.
 */
export function workAllowance(grants: Grants, roleIndex: number, owned = 0): WorkAllowance {
  const { tickHz, maxEntitiesPerPeer, voice } = grants;
  const role = 1 << roleIndex;
  let [entries, vectors, bytes] = [0, 0, 0];
  for (const component of grants.components) {
    const { authority, writeMasks, grantableWrite, spawnMax, rateHz } = component;
    // What may be granted while running counts as granted.
    if (authority !== "owner" || ((writeMasks[roleIndex] ?? 0) | grantableWrite) === 0) continue;
    // Entities that the server's engine hands over add to those of its own spawning.
    const entities = Math.max(Math.min(spawnMax, maxEntitiesPerPeer), owned);
    const values = entities * Math.min(rateHz, tickHz);
    const size = valueBytes(component);
    entries += values * Math.ceil(size / SNAPSHOT_PIECE_BYTES);
    vectors += values * component.fields.filter(({ kind }) => MOVING.includes(kind)).length;
    bytes += values * size;
  }
  // An entity's header goes with the first values, and again where they get lost.
  entries += Math.max(maxEntitiesPerPeer, owned);
  const isSpeaker = (voice.speakRoles & role) !== 0;
  const frames = isSpeaker ? voice.rateHz * Math.max(1, owned) : 0;
  let [messages, streamed] = [0, 0];
  for (const { mode, sendRoles, rateHz } of grants.channels) {
    if ((sendRoles & role) === 0) continue;
    if (mode === "unreliable") messages += rateHz;
    else streamed += rateHz;
  }
  let events = 0;
  for (const { sendRoles, rateHz } of grants.events) {
    if ((sendRoles & role) !== 0) events += rateHz;
  }
  // All its channels may begin at once, also those that a change of its role has just forbidden.
  const streams = grants.channels.some(({ mode }) => mode === "reliable") ? MAX_OPEN_CHANNELS : 0;
  const stateDatagrams = Math.min(
    MAX_DATAGRAMS_PER_TICK * tickHz,
    Math.ceil(bytes / tickHz / MIN_DATAGRAM_BYTES + 1) * tickHz,
  );
  // One more a tick acknowledges; voice shares the datagrams of its slot, a message may need one of its own, an event is vouched for by one.
  const honest = stateDatagrams + tickHz + Math.min(frames, 1000 / VOICE_SLOT_MS) + messages +
    events;
  const share = RATE_TOLERANCE * WORK_RESERVE;
  const datagrams = Math.min(
    MAX_PEER_DATAGRAMS_PER_S,
    Math.max(MIN_PEER_DATAGRAMS_PER_S, honest * share),
  );
  const units = share * (
        entries * WORK_ENTRY + vectors * WORK_VECTOR + frames * WORK_VOICE_FRAME +
        messages * WORK_MESSAGE +
        events * (WORK_CHUNK + WORK_CONTROL) + streams * WORK_STREAM
      ) + datagrams * WORK_DATAGRAM;
  return { units, datagrams, stream: PEER_STREAM_BYTES_PER_S + share * streamed * STREAM_MESSAGE };
}

/** An amount that is spent, refilled with time, and may be overdrawn by the last taken. */
class Purse {
  #perTick = 0;
  #most = 0;
  #left = 0;

  get isEmpty(): boolean {
    return this.#left <= 0;
  }

  /** Another income; what is there stays, as far as it fits. */
  setIncome(perSecond: number, tickHz: number): void {
    const first = this.#most === 0;
    this.#perTick = perSecond / tickHz;
    this.#most = perSecond * WORK_BURST_S;
    this.#left = first ? this.#most : Math.min(this.#left, this.#most);
  }

  spend(amount: number): void {
    // The debt is bounded too: after a second it is paid.
    this.#left = Math.max(this.#left - amount, -this.#most);
  }

  earn(ticks: number): void {
    this.#left = Math.min(this.#most, this.#left + ticks * this.#perTick);
  }
}

/**
 * One peer's account of work.
 *
 * Order of calls: `isSpent` before anything of the peer is looked at; then `spendDatagram` for each datagram that is, and `spend` for what was
 * in it; `noteUnread` for each that is not. `handleTick` once a tick. Of streams, `isStreamSpent` and `spendStream` say when to pause them.
 */
export class WorkBudget {
  readonly #tickHz: number;
  readonly #units = new Purse();
  readonly #datagrams = new Purse();
  readonly #stream = new Purse();
  #unread = 0;
  #unreadBytes = 0;
  #isOver = false;
  #over = 0;

  /** A full account. */
  constructor(allowance: WorkAllowance, tickHz: number) {
    this.#tickHz = tickHz;
    this.setAllowance(allowance);
  }

  /** The peer may cause no more work in this tick: its datagrams are dropped unread, its control stream waits. */
  get isSpent(): boolean {
    return this.#units.isEmpty || this.#datagrams.isEmpty;
  }

  /** The peer's streams wait for the next tick. */
  get isStreamSpent(): boolean {
    return this.#stream.isEmpty;
  }

  /** The peer was over its allowance, and has not made up for it by quiet ticks. */
  get isDegraded(): boolean {
    return this.#isOver || this.#over > 0;
  }

  /** Datagrams dropped unread since the last `handleTick`, and their bytes. */
  get unread(): { readonly count: number; readonly bytes: number } {
    return { count: this.#unread, bytes: this.#unreadBytes };
  }

  /** Its role, or the number of its entities, is another. */
  setAllowance({ units, datagrams, stream }: WorkAllowance): void {
    this.#units.setIncome(units, this.#tickHz);
    this.#datagrams.setIncome(datagrams, this.#tickHz);
    this.#stream.setIncome(stream, this.#tickHz);
  }

  /** One datagram is looked at. */
  spendDatagram(): void {
    this.#datagrams.spend(1);
    this.#units.spend(WORK_DATAGRAM);
  }

  /** Work was done, in units. */
  spend(units: number): void {
    this.#units.spend(units);
  }

  /** Streams of channels were taken from: their bytes, and what else counts as bytes. */
  spendStream(cost: number): void {
    this.#stream.spend(cost);
  }

  /** A datagram came while nothing was left, and was dropped. */
  noteUnread(bytes: number): void {
    this.#unread += 1;
    this.#unreadBytes += bytes;
    this.#isOver = true;
  }

  /** Something else had to wait because nothing was left. */
  noteOver(): void {
    this.#isOver = true;
  }

  /** So many ticks have passed. False: the peer has been over its allowance for too long and is to be dropped. */
  handleTick(ticks: number): boolean {
    this.#units.earn(ticks);
    this.#datagrams.earn(ticks);
    this.#stream.earn(ticks);
    // A driver that was held up itself must not hold that against its peers.
    const counted = OVER_WEIGHT * Math.min(ticks, MAX_COUNTED_TICKS);
    this.#over = this.#isOver ? this.#over + counted : Math.max(0, this.#over - ticks);
    this.#isOver = false;
    this.#unread = 0;
    this.#unreadBytes = 0;
    return this.#over * 1000 <= MAX_OVER_BUDGET_MS * OVER_WEIGHT * this.#tickHz;
  }
}
