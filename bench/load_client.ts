// One client of the load that plays an avatar: it hands over a pose when it is due for the server's ticks, as an engine does that paces its
// flushes, and looks at the others' poses as they are decoded. How it lives on the wire is `wire_client.ts`.

import { FlushPacer } from "../engine/flush_pacer.ts";
import type { Grants } from "../permissions/grants.ts";
import { type EntityId, entitySlot, NO_ENTITY } from "../protocol/entity_id.ts";
import type { Prng } from "../protocol/prng.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { RowReader } from "../replication/row_codec.ts";
import type { DecodedSnapshot } from "../replication/snapshot_receiver.ts";
import { type ComponentValue, createValue } from "../replication/value.ts";
import type { AvatarPlayer } from "./avatar_player.ts";
import type { LoadCount } from "./load_count.ts";
import { WireClient } from "./wire_client.ts";

/** The avatar is the world's first component. */
const AVATAR = 0;

/** What a load client needs. */
export interface LoadClientOptions {
  readonly grants: Grants;
  /** The server, `host:port`. */
  readonly endpoint: string;
  /** Pin of its certificate. */
  readonly pin: string;
  readonly player: AvatarPlayer;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  /** Share of datagrams lost in either direction, and what draws them. */
  readonly loss: number;
  readonly prng: Prng;
  /** It decodes nothing, and sees nobody. */
  readonly acknowledgesOnly: boolean;
  /** Where poses and updates are counted. */
  readonly count: LoadCount;
  /** The client has something to do at once. */
  readonly wake: () => void;
  /** It was part of the world and is not any more, or cannot become part of it. */
  readonly lost: (reason: string) => void;
}

/** See the head of the file. Order of calls as for a `WireClient`. */
export class LoadClient {
  readonly #options: LoadClientOptions;
  readonly #wire: WireClient;
  readonly #value: ComponentValue;
  /** Slots of the avatars of others whose values came. */
  readonly #seen: Uint8Array;
  #visible = 0;
  #pacer: FlushPacer | undefined;
  #freeId: EntityId = NO_ENTITY;
  #id = NO_ENTITY;
  #stamp: TimelineTime = 0;
  #batch = 0;

  /** A client that has not started. */
  constructor(options: LoadClientOptions) {
    const { grants, endpoint, pin, sha256, loss, prng, acknowledgesOnly, wake, lost } = options;
    this.#options = options;
    this.#value = createValue(grants.components[AVATAR]!);
    this.#seen = new Uint8Array(grants.maxEntities + 1);
    this.#wire = new WireClient({
      grants,
      endpoint,
      pin,
      sha256,
      acknowledgesOnly,
      ...(loss > 0 ? { loss: { share: loss, prng } } : {}),
      events: {
        joined: (message, nowMs) => {
          this.#freeId = message.entityIds[0]!;
          // The first pose goes at once; from then on it goes when it is due for the server's ticks.
          this.#pacer = new FlushPacer(grants.tickHz, nowMs);
        },
        decoded: (snapshot) => this.#count(snapshot),
        lost,
        wake,
      },
    });
  }

  /** When `run` wants to be called next, ms on the clock of `performance.now`. */
  get dueMs(): number {
    return Math.min(this.#wire.dueMs, this.#pacer?.nextMs ?? Infinity);
  }

  /** Avatars of others that it sees. */
  get visible(): number {
    return this.#visible;
  }

  /** The link's counter of this name. */
  counter(name: string): number {
    return this.#wire.counter(name);
  }

  /** Connects and joins. */
  start(): void {
    this.#wire.start();
  }

  /** Says goodbye. */
  close(): void {
    this.#pacer = undefined;
    this.#wire.close();
  }

  /** Does what is due. */
  run(nowMs: number): void {
    const isIn = this.#wire.receiver !== undefined;
    if (isIn && this.#pacer !== undefined && nowMs >= this.#pacer.nextMs) {
      this.#play(this.#pacer, nowMs);
    }
    this.#wire.run(nowMs);
  }

  /** Writes the next pose, with the spawn where it is the first. */
  #play(pacer: FlushPacer, nowMs: number): void {
    const { player, grants, count } = this.#options;
    const avatar = grants.components[AVATAR]!;
    const wire = this.#wire;
    count.late.add(nowMs - pacer.nextMs);
    pacer.handleFlushed(++this.#batch, nowMs);
    player.play();
    new RowReader(avatar, player.row, 1).next(avatar.allFields, this.#value, (handle) => handle);
    const time = Math.max(wire.timeAt(nowMs), this.#stamp + 1);
    this.#stamp = time;
    if (this.#id === NO_ENTITY) {
      this.#id = this.#freeId;
      wire.world.spawn(this.#id, wire.peer, wire.tick);
      wire.world.addComponent(this.#id, AVATAR, this.#value, wire.tick, time);
    } else {
      wire.world.write(this.#id, AVATAR, avatar.allFields, this.#value, wire.tick, time);
    }
    count.noteSent(entitySlot(this.#id), time, nowMs);
    pacer.handleStamped(this.#batch, time);
    wire.handleWritten(nowMs);
  }

  #count({ entries, count: length, tick }: DecodedSnapshot): void {
    const { count } = this.#options;
    // Decoding takes time too.
    const nowMs = performance.now();
    for (let i = 0; i < length; i++) {
      const entry = entries[i]!;
      if (entry.kind !== "value" || entry.component !== AVATAR || entry.id === this.#id) continue;
      if (entry.reference >= 0) count.noteReference(tick - entry.reference);
      if (!entry.fresh) continue;
      const slot = entitySlot(entry.id);
      if (this.#seen[slot] === 0) {
        this.#seen[slot] = 1;
        this.#visible += 1;
      }
      count.noteUpdate(slot, entry.time, nowMs);
    }
  }
}
