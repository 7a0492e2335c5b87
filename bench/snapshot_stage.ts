// One server's world and one client behind a path of whole ticks: the product's sender, receiver and datagram header, nothing of its own.
// What is lost, and how old the baseline is, is the caller's; bytes are counted by part.

import type { Grants } from "../permissions/grants.ts";
import { assert } from "../protocol/assert.ts";
import { MIN_DATAGRAM_BYTES } from "../protocol/limits.ts";
import type { Prng } from "../protocol/prng.ts";
import { Reader } from "../protocol/reader.ts";
import { Writer } from "../protocol/writer.ts";
import type { MotionTables } from "../replication/coding/motion_model.ts";
import type { InterestResult } from "../replication/interest.ts";
import { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { World } from "../replication/world.ts";

/** UDP and IPv4. */
export const UDP_BYTES = 28;
/** A QUIC packet around one datagram frame: flags and connection id 9, packet number 2, frame type and length 3, tag 16. */
export const QUIC_BYTES = 30;
/** Our datagram's header with one run of acknowledgements, the section's frame and its grant epoch. */
export const DATAGRAM_BYTES = 11 + 2 + 1;
/** All that a packet has beside entities and values. */
export const PACKET_BYTES = UDP_BYTES + QUIC_BYTES + DATAGRAM_BYTES;
/** The client's peer id. */
const PEER = 1;

interface Sent {
  readonly sequence: number;
  readonly tick: number;
  readonly body: Uint8Array;
  readonly isLost: boolean;
}

/** Options of a stage. */
export interface StageOptions {
  readonly grants: Grants;
  readonly world: World;
  /** Ticks from sending to the tick whose datagrams may refer to it. */
  readonly lag: number;
  /** Share of datagrams lost. */
  readonly loss: number;
  readonly prng: Prng;
  readonly tables?: MotionTables;
}

/** A sender, a receiver, and what went between them. */
export class SnapshotStage {
  readonly receiver: SnapshotReceiver;
  /** Bytes of section bodies, and packets, since `startCount`. */
  bodyBytes = 0;
  packets = 0;
  /** Bits of section bodies. */
  bodyBits = 0;
  encodeMs = 0;
  decodeMs = 0;
  readonly #sender: SnapshotSender;
  readonly #options: StageOptions;
  readonly #flying: Sent[] = [];
  readonly #writer = new Writer(2_048);
  #sequence = 0;

  /** Nothing is sent yet. */
  constructor(options: StageOptions) {
    this.#options = options;
    const { grants, world, tables } = options;
    const link = {
      grants,
      roleIndex: 1,
      peer: PEER,
      direction: "down" as const,
      ...(tables === undefined ? {} : { tables }),
    };
    this.#sender = new SnapshotSender({ ...link, world });
    this.receiver = new SnapshotReceiver(link);
    this.#sender.setRttTicks(options.lag);
    // As the driver's link does on a path on which it sees losses.
    this.#sender.isLossy = options.loss > 0;
  }

  /** Counts from here on. */
  startCount(): void {
    this.bodyBytes = 0;
    this.bodyBits = 0;
    this.packets = 0;
    this.encodeMs = 0;
    this.decodeMs = 0;
  }

  /** One tick: acknowledgements that are due, then datagrams, which arrive in the same tick unless they are lost. */
  step(tick: number, candidates: InterestResult): void {
    const { lag, loss, prng } = this.#options;
    while (this.#flying.length > 0 && this.#flying[0]!.tick <= tick - lag) {
      const { sequence, isLost } = this.#flying.shift()!;
      if (isLost) this.#sender.handleLost(sequence);
      else this.#sender.handleAcked(sequence);
    }
    const from = performance.now();
    const bodies: Sent[] = [];
    this.#sender.updateView(tick, candidates);
    const maxBits = (MIN_DATAGRAM_BYTES - DATAGRAM_BYTES + 1) * 8;
    for (;;) {
      const writer = this.#writer;
      writer.clear();
      if (!this.#sender.writeSection(writer, maxBits, tick, this.#sequence)) break;
      this.bodyBits += writer.bitLength;
      this.bodyBytes += writer.byteLength;
      this.packets += 1;
      const isLost = loss > 0 && prng.nextBelow(1_000_000) < loss * 1_000_000;
      bodies.push({ sequence: this.#sequence, tick, body: writer.finish(), isLost });
      this.#sequence += 1;
    }
    const sent = performance.now();
    this.encodeMs += sent - from;
    for (const { body, isLost } of bodies) {
      if (isLost) continue;
      const decoded = this.receiver.decode(new Reader(body), tick);
      assert(decoded !== undefined, "what the sender writes can be read");
      this.receiver.commit(decoded);
    }
    this.decodeMs += performance.now() - sent;
    this.#flying.push(...bodies);
  }
}
