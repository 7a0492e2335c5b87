// One sender and one receiver with a bad path between them, on ticks instead of a clock: datagrams and acknowledgements are delayed, lost,
// doubled and reordered by a seed. Nothing of the driver around them.

import { assertEquals } from "@std/assert";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";
import { faultName } from "../../protocol/faults.ts";
import type { Adjustments } from "../../permissions/adjustments.ts";
import type { Grants } from "../../permissions/grants.ts";
import type { MotionTables } from "../../replication/coding/motion_model.ts";
import type { InterestResult } from "../../replication/interest.ts";
import { type DecodedSnapshot, SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import type { World } from "../../replication/world.ts";
import { below, type Prng } from "./prng.ts";

/** How bad the path is; delays in ticks. */
export interface Path {
  readonly loss: number;
  readonly duplicate: number;
  readonly minDelay: number;
  readonly maxDelay: number;
}

export const PERFECT: Path = { loss: 0, duplicate: 0, minDelay: 0, maxDelay: 0 };

/** A datagram under way. */
interface Flying {
  readonly sequence: number;
  readonly tick: number;
  readonly bytes: Uint8Array;
  readonly arrives: number;
}

export interface LinkOptions {
  readonly grants: Grants;
  readonly world: World;
  readonly peer: number;
  readonly roleIndex: number;
  readonly direction: "down" | "up";
  readonly path: Path;
  readonly prng: Prng;
  readonly maxBits?: number;
  readonly maxDatagrams?: number;
  /** Tables of this link's own: what it codes is shared with no other one. */
  readonly tables?: MotionTables;
  /** What was granted to the peer and revoked from it; each end reads it when it is told of a new epoch. */
  readonly adjusted?: Adjustments;
}

/** A sender, a receiver and the path between them. */
export class SnapshotLink {
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
  path: Path;
  /** Called with what was committed. */
  onDecoded: (decoded: DecodedSnapshot) => void = () => {};
  /** Faults by name, of datagrams that an honest path delivered. */
  readonly faults = new Map<string, number>();
  /** All section bodies sent, with their ticks. */
  readonly sent: { readonly tick: number; readonly bytes: Uint8Array }[] = [];
  bitsSent = 0;
  readonly #options: LinkOptions;
  readonly #flying: Flying[] = [];
  readonly #acks: { readonly sequence: number; readonly arrives: number; isLost: boolean }[] = [];
  readonly #received = new Set<number>();
  readonly #writer = new Writer();
  #sequence = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.path = options.path;
    this.sender = new SnapshotSender(options);
    this.receiver = new SnapshotReceiver(options);
    this.sender.setRttTicks(2 * (options.path.minDelay + options.path.maxDelay) / 2);
  }

  /** One tick: sends, carries, receives, acknowledges. */
  step(tick: number, candidates?: InterestResult): void {
    if (candidates !== undefined) this.sender.updateView(tick, candidates);
    const { prng, maxBits = 8_800, maxDatagrams = 16 } = this.#options;
    for (let i = 0; i < maxDatagrams; i++) {
      this.#writer.clear();
      const sequence = this.#sequence;
      if (!this.sender.writeSection(this.#writer, maxBits, tick, sequence)) break;
      assertEquals(this.#writer.bitLength <= maxBits, true, "a section keeps to its bits");
      this.#sequence += 1;
      const bytes = this.#writer.finish();
      this.bitsSent += this.#writer.bitLength;
      this.sent.push({ tick, bytes });
      const copies = prng() < this.path.loss ? 0 : prng() < this.path.duplicate ? 2 : 1;
      if (copies === 0) {
        this.#acks.push({ sequence, arrives: tick + 2 * this.path.maxDelay + 2, isLost: true });
      }
      for (let k = 0; k < copies; k++) {
        this.#flying.push({ sequence, tick, bytes, arrives: tick + this.#delay() });
      }
    }
    this.#deliver(tick);
    for (let i = this.#acks.length - 1; i >= 0; i--) {
      const ack = this.#acks[i]!;
      if (ack.arrives > tick) continue;
      this.#acks.splice(i, 1);
      if (ack.isLost) this.sender.handleLost(ack.sequence);
      else this.sender.handleAcked(ack.sequence);
    }
  }

  #delay(): number {
    const { minDelay, maxDelay } = this.path;
    return minDelay + below(this.#options.prng, maxDelay - minDelay + 1);
  }

  #deliver(now: number): void {
    for (let i = 0; i < this.#flying.length; i++) {
      const datagram = this.#flying[i]!;
      if (datagram.arrives > now) continue;
      this.#flying.splice(i, 1);
      i -= 1;
      if (this.#received.has(datagram.sequence)) continue;
      const reader = new Reader(datagram.bytes);
      const decoded = this.receiver.decode(reader, datagram.tick);
      if (decoded === undefined) {
        const name = faultName(reader.fault!);
        this.faults.set(name, (this.faults.get(name) ?? 0) + 1);
        continue;
      }
      this.receiver.commit(decoded);
      this.#received.add(datagram.sequence);
      this.onDecoded(decoded);
      const { prng } = this.#options;
      const isLost = prng() < this.path.loss;
      this.#acks.push({
        sequence: datagram.sequence,
        arrives: now + (isLost ? 2 * this.path.maxDelay + 2 : this.#delay()),
        isLost,
      });
    }
  }
}
