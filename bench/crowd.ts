// A real server core with a crowd of moving entities and viewers that are raw_viewer.ts, on virtual time in one process: what the benchmarks
// `views` and `scale` measure. Places are the benchmark's choice; the motion is here.

import { createHash } from "node:crypto";
import { ServerCore } from "../driver/server_core.ts";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { assert } from "../protocol/assert.ts";
import type { ToDriver } from "../protocol/engine_messages.ts";
import { ENGINE_LINK_VERSION } from "../protocol/limits.ts";
import { Prng } from "../protocol/prng.ts";
import { INTEREST_HYSTERESIS } from "../replication/interest.ts";
import type { World } from "../replication/world.ts";
import { CpuMeter } from "./cpu_meter.ts";
import { RawViewer } from "./raw_viewer.ts";

/** Ticks a second of a crowd. */
export const CROWD_HZ = 20;
/** Ticks from a datagram to the first that builds on its acknowledgement: 100 ms. */
const ACK_TICKS = 2;
/** Bytes of a row: three and four 32-bit floats. */
const ROW_FLOATS = 7;
/** How far an entity walks from its place, metres, and how fast it turns round at most, radians a second. */
const WALK_M = 2;
const WALK_RATE = 0.8;
/** Half the side of the world, metres, in which places may lie. */
export const CROWD_HALF_M = 2_048;
const NOTHING = new Uint32Array(0);

/** A crowd to be made. */
export interface CrowdOptions {
  /** Where the entities stand, metres; viewer `i` sees from entity `i`. */
  readonly places: readonly (readonly [x: number, z: number])[];
  /** Viewers. */
  readonly viewers: number;
  /** How far they see, metres. */
  readonly radiusM: number;
  /** Decides the motion and all that the core draws. */
  readonly seed: number;
}

/** The world of a crowd: one component with a place and a rotation, which the server's engine writes. */
export function crowdGrants({ places, viewers, radiusM }: CrowdOptions): Grants {
  const manifest = {
    world: {
      name: "crowd",
      tickHz: CROWD_HZ,
      maxEntities: places.length + 64,
      maxPeers: viewers + 1,
      maxEntitiesPerPeer: 1,
      roles: [{ id: 1, name: "viewer" }],
      defaultRole: "viewer",
      components: [{
        id: 1,
        name: "Transform",
        authority: "server",
        fields: {
          position: { type: "vec3", min: -CROWD_HALF_M, max: CROWD_HALF_M, precision: 0.001 },
          rotation: { type: "quat", bits: 10 },
        },
        read: ["all"],
        rateHz: 60,
        interestRadius: radiusM,
        position: "position",
      }],
    },
    host: {
      role: "server",
      engineSocket: "engine.sock",
      listen: "127.0.0.1:0",
      certificate: { mode: "development" },
      limits: { peerBytesPerSecond: 10_000_000 },
    },
  };
  return compileGrants(parseManifest(JSON.stringify(manifest), "crowd"), sha256);
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** How entities walk: each about its place, at its own pace. */
export class CrowdMotion {
  /** Rows of all entities: place and rotation, one after the other. */
  readonly rows: Float32Array<ArrayBuffer>;
  readonly #places: CrowdOptions["places"];
  readonly #rate: Float64Array;
  readonly #phase: Float64Array;

  constructor(places: CrowdOptions["places"], prng: Prng) {
    this.#places = places;
    this.rows = new Float32Array(places.length * ROW_FLOATS);
    this.#rate = Float64Array.from(places, () => WALK_RATE * (0.3 + 0.7 * prng.nextFloat()));
    this.#phase = Float64Array.from(places, () => 2 * Math.PI * prng.nextFloat());
  }

  /** Writes all rows as they are at a time, s. */
  at(seconds: number): void {
    const { rows } = this;
    for (let i = 0; i < this.#places.length; i++) {
      const [x, z] = this.#places[i]!;
      const turn = this.#rate[i]! * seconds + this.#phase[i]!;
      const at = i * ROW_FLOATS;
      const yaw = 0.7 * turn;
      const tilt = 0.1 * Math.sin(3 * turn);
      rows[at] = x + WALK_M * Math.sin(turn);
      rows[at + 1] = 1 + 0.1 * Math.sin(5 * turn);
      rows[at + 2] = z + WALK_M * Math.sin(1.3 * turn + 1);
      rows[at + 3] = Math.sin(tilt) * Math.cos(yaw / 2);
      rows[at + 4] = Math.cos(tilt) * Math.sin(yaw / 2);
      rows[at + 5] = -Math.sin(tilt) * Math.sin(yaw / 2);
      rows[at + 6] = Math.cos(tilt) * Math.cos(yaw / 2);
    }
  }
}

/** See the head of the file. The constructor joins everyone; then `step` once for each tick. */
export class Crowd {
  readonly grants: Grants;
  readonly viewers: RawViewer[] = [];
  /** Columns taking the engine's batch; the tick of all viewers; their acknowledgements. */
  ingest = new CpuMeter();
  tick = new CpuMeter();
  acks = new CpuMeter();
  readonly #core: ServerCore;
  readonly #motion: CrowdMotion;
  readonly #handles: Uint32Array;
  readonly #masks: Uint32Array;
  #nowMs = 0;
  #batch = 0;
  #ticks = 0;

  constructor(options: CrowdOptions) {
    const { places, viewers } = options;
    assert(viewers <= places.length, "each viewer sees from an entity of its own");
    const prng = new Prng(options.seed);
    this.grants = crowdGrants(options);
    assert(this.grants.components[0]!.rowBytes === ROW_FLOATS * 4, "rows are as the motion writes");
    this.#motion = new CrowdMotion(places, prng.fork());
    const random = prng.fork();
    this.#core = new ServerCore({
      grants: this.grants,
      environment: {
        now: () => this.#nowMs,
        randomBytes: (length) => {
          const bytes = new Uint8Array(length);
          random.fill(bytes);
          return bytes;
        },
        sha256,
        unixMs: () => 1_800_000_000_000 + this.#nowMs,
        verifyEd25519: (_key, _signature, _data, done) => done(false),
        wake: () => {},
      },
      loopback: false,
    });
    this.#handles = Uint32Array.from(places, (_, i) => i + 1);
    this.#masks = new Uint32Array(places.length).fill(this.grants.components[0]!.allFields);
    this.#start(viewers);
  }

  /** The server's world. */
  get world(): World {
    return this.#core.world;
  }

  #start(viewers: number): void {
    this.#core.hello({ certificateHash: "", listen: "", boot: 1 });
    this.#tell({
      kind: "welcome",
      linkVersion: ENGINE_LINK_VERSION,
      schemaHash: this.grants.schemaHash,
      connect: { url: "", pin: "", credential: NOTHING_BYTES },
      resume: NOTHING_BYTES,
      nonces: NOTHING_BYTES,
      entities: NOTHING,
    });
    this.#core.handleListening("crowd", this.#nowMs);
    for (let i = 0; i < viewers; i++) {
      const viewer = new RawViewer(this.grants);
      this.#core.handleConnection(viewer.connection, this.#nowMs);
      viewer.join(this.#nowMs);
      this.viewers.push(viewer);
      this.#drain();
    }
    this.#motion.at(0);
    this.#hand(this.#handles, this.#handles.map((_, i) => this.viewers[i]?.peer ?? 0));
  }

  /** One tick: the entities move, the server tells the viewers, they acknowledge what they were told the tick before. */
  step(): void {
    this.#ticks += 1;
    this.#motion.at(this.#ticks / CROWD_HZ);
    this.ingest.start();
    this.#hand(NOTHING, NOTHING);
    this.ingest.stop();
    this.#run();
  }

  /** Ticks in which nothing moves: what is under way arrives. */
  rest(ticks: number): void {
    for (let i = 0; i < ticks; i++) this.#run();
  }

  #run(): void {
    this.#nowMs = this.#core.nextTimerMs;
    this.tick.start();
    this.#core.handleTimer(this.#nowMs);
    this.tick.stop();
    this.#drain();
    this.#nowMs += 500 / CROWD_HZ;
    for (const viewer of this.viewers) viewer.take(ACK_TICKS, this.#nowMs);
    this.acks.start();
    for (const viewer of this.viewers) viewer.acknowledge(this.#nowMs);
    this.acks.stop();
  }

  /** Begins to measure anew. */
  clear(): void {
    this.ingest = new CpuMeter();
    this.tick = new CpuMeter();
    this.acks = new CpuMeter();
    for (const viewer of this.viewers) {
      viewer.bytesIn = 0;
      viewer.datagramsIn = 0;
      viewer.sectionBytesIn = 0;
    }
  }

  /**
   * Pairs of a viewer and an entity that it sees, and how many of those it must see are missing or differ from the server's; while viewers
   * read. Between the radius and the end of its hysteresis an entity is seen or not, by where it came from.
   */
  compare(): { readonly pairs: number; readonly wrong: number } {
    let [pairs, wrong] = [0, 0];
    const { world } = this;
    const radius = this.grants.components[0]!.interestRadius;
    const [eye, place] = [new Float64Array(3), new Float64Array(3)];
    for (const { receiver, peer } of this.viewers) {
      assert(receiver !== undefined, "a viewer that does not read cannot be compared");
      world.forEachOwned(peer, (id) => world.position(id, eye));
      for (let slot = 1; slot <= world.maxSlot; slot++) {
        const id = world.idAt(slot);
        if (id === 0) continue;
        world.position(id, place);
        const distance = Math.hypot(place[0]! - eye[0]!, place[1]! - eye[1]!, place[2]! - eye[2]!);
        if (distance > radius * INTEREST_HYSTERESIS) continue;
        const isHeld = receiver.headerOf(id) !== undefined;
        if (isHeld) pairs += 1;
        if (distance <= radius && receiver.hash(id) !== world.hash(id)) wrong += 1;
      }
    }
    return { pairs, wrong };
  }

  /** Pairs of viewer and entity that are no farther apart than this, metres, the viewers' own entities included. */
  pairsWithin(radiusM: number): number {
    const { rows } = this.#motion;
    let pairs = 0;
    for (let v = 0; v < this.viewers.length; v++) {
      for (let at = 0; at < rows.length; at += ROW_FLOATS) {
        const x = rows[at]! - rows[v * ROW_FLOATS]!;
        const y = rows[at + 1]! - rows[v * ROW_FLOATS + 1]!;
        const z = rows[at + 2]! - rows[v * ROW_FLOATS + 2]!;
        if (x * x + y * y + z * z <= radiusM * radiusM) pairs += 1;
      }
    }
    return pairs;
  }

  #hand(spawns: Uint32Array, spawnOwners: Uint32Array): void {
    const { rows } = this.#motion;
    this.#tell({
      kind: "batch",
      id: ++this.#batch,
      spawns,
      spawnOwners,
      components: [{
        componentId: this.grants.components[0]!.id,
        handles: this.#handles,
        masks: this.#masks,
        rows: new Uint8Array(rows.buffer),
        times: new Float64Array(0),
      }],
      removes: NOTHING,
      despawns: NOTHING,
      zones: NOTHING,
    });
  }

  #tell(message: ToDriver): void {
    this.#core.handleEngine(message, this.#nowMs);
  }

  /** The engine listens to its driver, and answers its heartbeat. */
  #drain(): void {
    for (;;) {
      const message = this.#core.pollEngine(this.#nowMs);
      if (message === undefined) break;
      if (message.kind === "ping") this.#tell({ kind: "pong", time: message.time });
    }
    const { exit } = this.#core;
    if (exit !== undefined) throw new Error(`the server's core ended: ${exit.reason}`);
  }
}

const NOTHING_BYTES = new Uint8Array(0);
