// What the acknowledgement or loss of a datagram means for the tracks of the state it carried: which versions are references now, what has
// to go out again. It sends nothing.

import { ackedBehindNewer, withAcked } from "./acked_history.ts";
import type { PeerView } from "./peer_view.ts";
import type { PiecePlaces } from "./piece_places.ts";
import type { LoggedEntry, SectionLog } from "./section_log.ts";
import type { StepTracks } from "./step_tracks.ts";
import {
  ACKED,
  ACKED_BEFORE,
  AFTER_BASE_TICK,
  BASE_COUNT,
  BASE_NULLED,
  BASE_OFFSET,
  BASE_TICK,
  BASE_WORLD_TICK,
  ENTITY_MARKS,
  HEADER_ACKED,
  HEADER_LOST,
  HEADER_SEQUENCE,
  HEADER_TICK,
  HOLDS_PLACE,
  IN_PIECES,
  LINK_TICK,
  LINK_WORLD_TICK,
  LOST,
  NEVER,
  type TrackPool,
  VALID_FROM,
  VALUE_MARKS,
  VALUE_SEQUENCE,
  WAS_ACKED,
} from "./track_pool.ts";
import { type EntityTrack, type ValueTrack, ViewState } from "./tracks.ts";

/** Applies acknowledgements of one link. */
export class TrackAcks {
  readonly #pool: TrackPool;
  readonly #view: PeerView;
  readonly #log: SectionLog;
  readonly #places: PiecePlaces;
  readonly #steps: StepTracks;
  readonly #historyTicks: number;
  readonly #onAcked = (entry: LoggedEntry): void => this.#handleAcked(entry);
  readonly #onLost = (entry: LoggedEntry, sequence: number): void =>
    this.#handleLost(entry, sequence);

  /** Acknowledgements for what `log` remembers of the tracks of `view`. */
  constructor(
    pool: TrackPool,
    view: PeerView,
    log: SectionLog,
    places: PiecePlaces,
    steps: StepTracks,
    historyTicks: number,
  ) {
    this.#pool = pool;
    this.#view = view;
    this.#log = log;
    this.#places = places;
    this.#steps = steps;
    this.#historyTicks = historyTicks;
  }

  /** The peer holds what datagram `sequence` carried. */
  handleAcked(sequence: number): void {
    this.#log.forEach(sequence, this.#onAcked);
    this.#log.handleAcked(sequence);
    this.#steps.handleAcked(sequence, this.#onAcked);
  }

  /** Datagram `sequence` is given up as lost. */
  handleLost(sequence: number): void {
    this.#log.forEach(sequence, this.#onLost);
    this.#log.handleLost(sequence);
    this.#steps.handleLost(sequence, this.#onLost);
  }

  #handleAcked(entry: LoggedEntry): void {
    const { entity, value } = entry;
    if (value < 0) {
      if (entry.tick === this.#pool.entities[entity + HEADER_TICK]) {
        this.#handleHeaderAcked(this.#view.trackAt(entity), entry.sentTick);
      }
      return;
    }
    const words = this.#pool.values;
    words[value + VALUE_MARKS] = words[value + VALUE_MARKS]! | WAS_ACKED;
    if (entry.tick < words[value + VALID_FROM]!) return;
    if (entry.piece >= 0) {
      const transfer = this.#valueOf(entry)?.transfer;
      if (transfer === undefined || transfer.linkTick !== entry.tick) return;
      transfer.handleAcked(entry.piece);
      if (!transfer.isComplete) return;
    }
    this.#handleVersionAcked(entry);
  }

  #valueOf(entry: LoggedEntry): ValueTrack | undefined {
    return this.#view.trackAt(entry.entity).valueAt(entry.value);
  }

  #handleVersionAcked(entry: LoggedEntry): void {
    const words = this.#pool.values;
    const at = entry.value;
    const { tick } = entry;
    const base = words[at + BASE_TICK]!;
    const isNewest = tick === words[at + LINK_TICK];
    if (tick < base) {
      words[at + ACKED_BEFORE] = withAcked(words[at + ACKED_BEFORE]!, base - tick);
    } else if (tick > base) {
      words[at + ACKED_BEFORE] = base === NEVER
        ? 0
        : ackedBehindNewer(words[at + ACKED_BEFORE]!, tick - base);
      words[at + BASE_TICK] = tick;
      // Since it was sent, the newest version's contents may have got a younger name in the world.
      words[at + BASE_WORLD_TICK] = isNewest ? words[at + LINK_WORLD_TICK]! : entry.worldTick;
      words[at + BASE_NULLED] = entry.nulled;
      words[at + BASE_OFFSET] = entry.offset;
      words[at + BASE_COUNT] = entry.count;
      // Which version came next is not kept: the earliest tick possible is on the safe side.
      words[at + AFTER_BASE_TICK] = isNewest ? NEVER : tick + 1;
    }
    if (!isNewest) return;
    const marks = words[at + VALUE_MARKS]!;
    words[at + VALUE_MARKS] = (marks | ACKED) & ~LOST;
    if ((marks & (IN_PIECES | HOLDS_PLACE)) === 0) return;
    const value = this.#valueOf(entry);
    if (value === undefined) return;
    value.transfer = undefined;
    this.#places.release(value);
  }

  #handleHeaderAcked(track: EntityTrack, sentTick: number): void {
    const words = this.#pool.entities;
    const marks = track.at + ENTITY_MARKS;
    words[marks] = (words[marks]! | HEADER_ACKED) & ~HEADER_LOST;
    this.#places.releaseOrphans(track);
    for (let i = 0; i < track.values.length; i++) {
      const value = track.values[i]!;
      if (value.yieldedEpoch !== NEVER && value.yieldedEpoch !== track.epoch) {
        // With this header the receiver has forgotten the pieces.
        value.yieldedEpoch = NEVER;
        if (value.transfer === undefined) this.#places.release(value);
      }
      if (track.state !== ViewState.Alive || !value.isVisible) {
        this.#places.release(value);
      } else if (value.hiddenTick !== NEVER) {
        // The header that shows it again may have come when the peer had erased it already.
        if (!value.surelyKept(sentTick, this.#historyTicks)) value.voidValue();
        value.hiddenTick = NEVER;
      }
    }
  }

  #handleLost(entry: LoggedEntry, sequence: number): void {
    const { entity, value } = entry;
    if (value < 0) {
      const words = this.#pool.entities;
      if (
        entry.tick !== words[entity + HEADER_TICK] ||
        words[entity + HEADER_SEQUENCE] !== sequence
      ) return;
      const marks = words[entity + ENTITY_MARKS]!;
      if ((marks & HEADER_ACKED) === 0) words[entity + ENTITY_MARKS] = marks | HEADER_LOST;
    } else if (entry.piece >= 0) {
      const transfer = this.#valueOf(entry)?.transfer;
      if (transfer?.linkTick === entry.tick) transfer.handleLost(entry.piece, sequence);
    } else {
      const words = this.#pool.values;
      if (
        entry.tick !== words[value + LINK_TICK] || words[value + VALUE_SEQUENCE] !== sequence
      ) return;
      const marks = words[value + VALUE_MARKS]!;
      if ((marks & ACKED) === 0) words[value + VALUE_MARKS] = marks | LOST;
    }
  }
}
