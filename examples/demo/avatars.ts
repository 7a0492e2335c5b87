// Judges every copy of every avatar: each sample that arrives must be, as quantised integers, the one its owner sent with the same sample
// time, and nearly all that were sent must arrive, counted from a time that does not depend on what arrived.

import type { ComponentGrant } from "../../permissions/grants.ts";
import type { ComponentValues } from "../../engine/mod.ts";
import { quantiseValues } from "../../engine/values.ts";
import { createValue } from "../../replication/value.ts";
import { HASH_START, hashWord } from "../../replication/state_hash.ts";
import { SUBTICKS, type TimelineTime } from "../../protocol/timeline_units.ts";

/** Time, s, from when both reader and avatar are in the world until the reader must have the avatar's first sample, and every one after. */
const WARM_UP_S = 2;

/** Names one receiver's copy of one avatar. */
interface Copy {
  readonly receiver: string;
  readonly avatar: number;
}

interface SentSample {
  readonly digest: number;
  readonly sentMs: number;
}

/** One receiver's account of one avatar. */
interface Receipt {
  received: Set<number>;
  wrong: number;
  unknown: number;
  firstTime: TimelineTime;
}

/** The verdict on one receiver and avatar. */
export interface AvatarVerdict {
  readonly receiver: string;
  readonly avatar: number;
  /** Samples sent after the warm-up, and how many of them arrived. */
  readonly sent: number;
  readonly received: number;
  readonly wrong: number;
  /** The first sample came after the warm-up. */
  readonly isLate: boolean;
}

/** Everything sent and received of all avatars, by network id. */
export class AvatarJudge {
  readonly #component: ComponentGrant;
  readonly #value;
  readonly #warmUp: number;
  /** When each receiver joined, on the world's timeline. */
  readonly #joined = new Map<string, TimelineTime>();
  /** By owner: samples by sample time. */
  readonly #sent = new Map<string, Map<number, SentSample>>();
  /** Samples whose time the driver has not told yet, by owner and batch. */
  readonly #unstamped = new Map<string, SentSample>();
  readonly #receipts = new Map<string, Copy & { readonly receipt: Receipt }>();
  readonly #arrived: {
    receiver: string;
    avatar: number;
    time: number;
    digest: number;
    atMs: number;
  }[] = [];
  /** Milliseconds from the owner's flush to the receiver's world. */
  readonly latenciesMs: number[] = [];

  /** @param tickHz The world's, which the timeline counts in. */
  constructor(component: ComponentGrant, tickHz: number) {
    this.#component = component;
    this.#value = createValue(component);
    this.#warmUp = WARM_UP_S * tickHz * SUBTICKS;
  }

  /** A receiver joined the world. */
  noteJoined(receiver: string, timeline: TimelineTime): void {
    this.#joined.set(receiver, timeline);
  }

  /** Notes a pose that its owner flushes with `batch`. */
  noteFlushed(owner: string, batch: number, values: ComponentValues, nowMs: number): void {
    this.#unstamped.set(`${owner}/${batch}`, { digest: this.#digest(values), sentMs: nowMs });
  }

  /** The owner's driver says which sample time the batch got. */
  noteStamped(owner: string, batch: number, time: number): void {
    const key = `${owner}/${batch}`;
    const sample = this.#unstamped.get(key);
    if (sample === undefined) return;
    this.#unstamped.delete(key);
    let samples = this.#sent.get(owner);
    if (samples === undefined) this.#sent.set(owner, samples = new Map());
    samples.set(time, sample);
  }

  /** A pose arrived in a receiver's world. */
  noteReceived(
    receiver: string,
    avatar: number,
    values: ComponentValues,
    time: number,
    nowMs: number,
  ): void {
    this.#arrived.push({ receiver, avatar, time, digest: this.#digest(values), atMs: nowMs });
  }

  /** Compares what arrived with what was sent. `ownerOf` names the owner of an avatar; others' are left out. */
  judge(ownerOf: (avatar: number) => string | undefined): AvatarVerdict[] {
    for (const { receiver, avatar, time, digest, atMs } of this.#arrived) {
      const owner = ownerOf(avatar);
      if (owner === undefined) continue;
      const key = `${receiver}/${avatar}`;
      let copy = this.#receipts.get(key);
      if (copy === undefined) {
        copy = {
          receiver,
          avatar,
          receipt: { received: new Set(), wrong: 0, unknown: 0, firstTime: time },
        };
        this.#receipts.set(key, copy);
      }
      const { receipt } = copy;
      const sample = this.#sent.get(owner)?.get(time);
      if (sample === undefined) receipt.unknown += 1;
      else if (sample.digest !== digest) receipt.wrong += 1;
      else {
        receipt.received.add(time);
        this.latenciesMs.push(atMs - sample.sentMs);
      }
    }
    const verdicts: AvatarVerdict[] = [];
    for (const { receiver, avatar, receipt } of this.#receipts.values()) {
      const times = [...this.#sent.get(ownerOf(avatar)!)?.keys() ?? []].sort((a, b) => a - b);
      const dueFrom = Math.max(times[0] ?? 0, this.#joined.get(receiver) ?? 0) + this.#warmUp;
      const due = times.filter((time) => time >= dueFrom);
      verdicts.push({
        receiver,
        avatar,
        sent: due.length,
        received: due.filter((t) => receipt.received.has(t)).length,
        wrong: receipt.wrong + receipt.unknown,
        isLate: receipt.firstTime > dueFrom,
      });
    }
    return verdicts;
  }

  #digest(values: ComponentValues): number {
    quantiseValues(this.#component, values, this.#component.allFields, this.#value, () => false);
    let hash = HASH_START;
    for (const lane of this.#value.lanes) hash = hashWord(hash, lane);
    return hash;
  }
}

/** The value below which `share` of the numbers lie; `NaN` for none. */
export function percentile(numbers: readonly number[], share: number): number {
  if (numbers.length === 0) return NaN;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}
