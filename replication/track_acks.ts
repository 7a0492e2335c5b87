// What the acknowledgement or loss of a datagram means for the tracks of the state it carried: which versions are references now, what has
// to go out again. It sends nothing.

import type { PiecePlaces } from "./piece_places.ts";
import type { LoggedEntry, SectionLog } from "./section_log.ts";
import { type EntityTrack, NEVER, type ValueTrack, ViewState } from "./tracks.ts";

/** Applies acknowledgements of one link. */
export class TrackAcks {
  readonly #log: SectionLog;
  readonly #places: PiecePlaces;
  readonly #historyTicks: number;
  readonly #onAcked = (entry: LoggedEntry): void => this.#handleAcked(entry);
  readonly #onLost = (entry: LoggedEntry, sequence: number): void =>
    this.#handleLost(entry, sequence);

  /** Acknowledgements for what `log` remembers. */
  constructor(log: SectionLog, places: PiecePlaces, historyTicks: number) {
    this.#log = log;
    this.#places = places;
    this.#historyTicks = historyTicks;
  }

  /** The peer holds what datagram `sequence` carried. */
  handleAcked(sequence: number): void {
    this.#log.forEach(sequence, this.#onAcked);
    this.#log.handleAcked(sequence);
  }

  /** Datagram `sequence` is given up as lost. */
  handleLost(sequence: number): void {
    this.#log.forEach(sequence, this.#onLost);
    this.#log.handleLost(sequence);
  }

  #handleAcked(entry: LoggedEntry): void {
    const { entity, value } = entry;
    if (value === undefined) {
      if (entry.tick === entity.headerTick) this.#handleHeaderAcked(entity, entry.sentTick);
      return;
    }
    value.wasAcked = true;
    if (entry.tick < value.validFrom) return;
    if (entry.piece >= 0) {
      const { transfer } = value;
      if (transfer === undefined || transfer.linkTick !== entry.tick) return;
      transfer.handleAcked(entry.piece);
      if (!transfer.isComplete) return;
    }
    this.#handleVersionAcked(entry, value);
  }

  #handleVersionAcked(entry: LoggedEntry, value: ValueTrack): void {
    const isNewest = entry.tick === value.linkTick;
    const worldTick = isNewest ? value.linkWorldTick : entry.worldTick;
    value.acked.add(entry.tick, worldTick, entry.count, entry.offset);
    if (entry.tick > value.baseTick) {
      value.baseTick = entry.tick;
      // Since it was sent, the newest version's contents may have got a younger name in the world.
      value.baseWorldTick = worldTick;
      value.baseNulled = entry.nulled;
      value.baseOffset = entry.offset;
      value.baseCount = entry.count;
      // Which version came next is not kept: the earliest tick possible is on the safe side.
      value.afterBaseTick = isNewest ? NEVER : entry.tick + 1;
    }
    if (!isNewest) return;
    value.isAcked = true;
    value.isLost = false;
    value.transfer = undefined;
    this.#places.release(value);
  }

  #handleHeaderAcked(track: EntityTrack, sentTick: number): void {
    track.isHeaderAcked = true;
    track.isHeaderLost = false;
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
    if (value === undefined) {
      if (entry.tick === entity.headerTick && entity.headerSequence === sequence) {
        entity.isHeaderLost = !entity.isHeaderAcked;
      }
    } else if (entry.piece >= 0) {
      if (value.transfer?.linkTick === entry.tick) {
        value.transfer.handleLost(entry.piece, sequence);
      }
    } else if (entry.tick === value.linkTick && value.sentSequence === sequence) {
      value.isLost = !value.isAcked;
    }
  }
}
