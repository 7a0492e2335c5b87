// A client of the join benchmark: it tells when what it holds of the world is whole, and how old what moves is when it comes. How it lives on
// the wire is `wire_client.ts`.

import type { Grants } from "../permissions/grants.ts";
import { type EntityId, entitySlot } from "../protocol/entity_id.ts";
import { dequantiseField } from "../replication/quantise.ts";
import type { DecodedSnapshot } from "../replication/snapshot_receiver.ts";
import { digestOf, FLIGHT_M, flightAgeMs, wallMs } from "./join_world.ts";
import { WireClient } from "./wire_client.ts";

/** A moving entity may be so old, ms, when the world counts as exact. */
const FRESH_MS = 100;
/** How long one stays that acknowledges only, ms: as long as a join's budget lasts at most. */
const STAY_MS = 2_000;

/** How one join went; times on `wallMs`, null for what has not come. */
export interface JoinRecord {
  startedMs: number;
  /** The server's word that it joined came. */
  joinedMs: number | null;
  /** All resting entities are there, and each moving one is fresh. */
  exactMs: number | null;
  /** Digest of the resting entities' hashes, of what this client holds. */
  digest: string;
}

/** What a client needs. */
export interface JoinClientOptions {
  readonly grants: Grants;
  /** The server, `host:port`. */
  readonly endpoint: string;
  readonly pin: string;
  readonly entities: number;
  readonly moving: number;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** It decodes nothing, and is done when it has stayed for a while. */
  readonly acknowledgesOnly: boolean;
  /** A value of a moving entity came, so old. */
  readonly onUpdate: (ageMs: number) => void;
  /** The world is exact, and its digest known; or it has stayed long enough. */
  readonly onDone: () => void;
  /** The connection failed or ended. */
  readonly onLost: (reason: string) => void;
  /** It has something to do at once. */
  readonly wake: () => void;
}

/** Order of calls as for a `WireClient`. */
export class JoinClient {
  readonly record: JoinRecord = { startedMs: 0, joinedMs: null, exactMs: null, digest: "" };
  readonly #options: JoinClientOptions;
  readonly #wire: WireClient;
  readonly #resting = new Set<EntityId>();
  /** By slot: the moment that a moving entity carries, NaN where there is none. */
  readonly #flights: Float64Array;
  readonly #place = new Float64Array(3);
  #flying = 0;
  #highest = 0;

  constructor(options: JoinClientOptions) {
    this.#options = options;
    const { grants, endpoint, pin, sha256, acknowledgesOnly, onLost, wake } = options;
    this.#flights = new Float64Array(grants.maxEntities + 1).fill(NaN);
    this.#wire = new WireClient({
      grants,
      endpoint,
      pin,
      sha256,
      acknowledgesOnly,
      events: {
        joined: () => {
          this.record.joinedMs = wallMs();
          if (acknowledgesOnly) setTimeout(options.onDone, STAY_MS);
        },
        decoded: (snapshot) => {
          if (acknowledgesOnly) return;
          this.#look(snapshot);
          this.#judge();
        },
        lost: onLost,
        wake,
      },
    });
  }

  /** When `run` wants to be called next, ms on the clock of `performance.now`. */
  get dueMs(): number {
    return this.#wire.dueMs;
  }

  /** Does what is due. */
  run(nowMs: number): void {
    this.#wire.run(nowMs);
  }

  /** Connects and joins. */
  start(): void {
    this.record.startedMs = wallMs();
    this.#wire.start();
  }

  /** Says goodbye. */
  close(): void {
    this.#wire.close();
  }

  /** Takes note of what came: which entities rest, and the moments that the others carry. */
  #look({ entries, count }: DecodedSnapshot): void {
    const position = this.#options.grants.components[0]!.fields[0]!;
    const place = this.#place;
    const nowMs = wallMs();
    for (let i = 0; i < count; i++) {
      const entry = entries[i]!;
      if (entry.kind !== "value" || !entry.fresh) continue;
      dequantiseField(position, entry.value.lanes, position.laneOffset, place, 0);
      const slot = entitySlot(entry.id);
      if (place[1]! < FLIGHT_M) {
        this.#resting.add(entry.id);
        continue;
      }
      if (Number.isNaN(this.#flights[slot]!)) {
        this.#flying += 1;
        this.#highest = Math.max(this.#highest, slot);
      }
      this.#flights[slot] = place[0]!;
      this.#options.onUpdate(flightAgeMs(place[0]!, nowMs));
    }
  }

  #judge(): void {
    const { entities, moving } = this.#options;
    if (this.record.exactMs !== null || this.#flying < moving) return;
    if (this.#resting.size < entities - moving) return;
    const exactMs = wallMs();
    for (let slot = 0; slot <= this.#highest; slot++) {
      if (flightAgeMs(this.#flights[slot]!, exactMs) > FRESH_MS) return;
    }
    this.record.exactMs = exactMs;
    const receiver = this.#wire.receiver!;
    this.record.digest = digestOf(Array.from(this.#resting, (id) => receiver.hash(id)));
    this.#options.onDone();
  }
}
