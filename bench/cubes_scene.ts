// Fiedler's scene: 900 cubes on a floor and one large one that a player rolls through them, gathering and scattering as it goes ("Networked
// Physics", "Snapshot Compression", gafferongames.com). The physics is a published engine; what its bodies do is quantised as in the article.

import rapier from "@dimforge/rapier3d-deterministic-compat";
import { createHash } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import type { Grants } from "../permissions/grants.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { assert } from "../protocol/assert.ts";
import { Prng } from "../protocol/prng.ts";
import { quantiseField } from "../replication/quantise.ts";

/** Cubes, the player's first. */
export const CUBES = 901;
/** Frames a second. */
export const CUBES_HZ = 60;
/** Cubes along one side of the field. */
const SIDE = 30;
/** Edges of the player's cube and of the others, metres, and the distance between neighbours in the field. */
const PLAYER_M = 1.5;
const CUBE_M = 0.4;
const SPACING_M = 1;
/** Lanes of a cube: three of its position, four of its rotation, and whether the player has touched it. */
export const LANES = 8;
/** How far the player's pull reaches, metres, and how strong it is, m/s^2. */
const PULL_M = 3;
const PULL = 36;
/** Speed to which the player's cube is driven, m/s, and how strongly, 1/s. */
const DRIVE_SPEED = 5.5;
const DRIVE_GAIN = 6;
/** Frames between two decisions of the player. */
const DECISION_FRAMES = 45;
/** Share of the player's time in which it gathers cubes. */
const GATHER_SHARE = 0.6;

/** The scene's world as grants: each cube one entity with one component, in the article's steps. */
export function cubesGrants(): Grants {
  const manifest = {
    world: {
      name: "cubes",
      tickHz: CUBES_HZ,
      maxEntities: 1_024,
      maxPeers: 2,
      maxEntitiesPerPeer: 1,
      roles: [{ id: 1, name: "viewer" }],
      defaultRole: "viewer",
      components: [{
        id: 1,
        name: "Cube",
        authority: "server",
        fields: {
          position: { type: "vec3", min: -256, max: 255.998046875, precision: 1 / 512 },
          orientation: { type: "quat", bits: 9 },
          interacting: { type: "bool" },
        },
        read: ["all"],
        rateHz: CUBES_HZ,
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
  return compileGrants(
    parseManifest(JSON.stringify(manifest), "cubes"),
    (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
  );
}

/** The scene. Await `create`, then call `step` once a frame and look at `lanes`. */
export class CubesScene {
  /** Quantised state of all cubes, {@linkcode LANES} each, as after the last `step`. */
  readonly lanes = new Int32Array(CUBES * LANES);
  readonly #grants: Grants;
  readonly #world: rapier.World;
  readonly #bodies: rapier.RigidBody[] = [];
  readonly #prng: Prng;
  readonly #touched = new Uint8Array(CUBES);
  #frame = 0;
  #heading = 0;
  #isGathering = true;
  /** The player lets go: nothing is driven or pulled any more. */
  isIdle = false;

  private constructor(grants: Grants, seed: number) {
    this.#grants = grants;
    this.#prng = new Prng(seed);
    this.#world = new rapier.World({ x: 0, y: 0, z: -9.81 });
    this.#world.timestep = 1 / CUBES_HZ;
    const floor = this.#world.createRigidBody(rapier.RigidBodyDesc.fixed());
    const ground = rapier.ColliderDesc.cuboid(250, 250, 1).setTranslation(0, 0, -1);
    this.#world.createCollider(ground.setFriction(0.8), floor);
    this.#add(0, 0, PLAYER_M);
    // A gap in the middle for the player.
    for (let i = 0; i < SIDE * SIDE; i++) {
      const x = (i % SIDE - (SIDE - 1) / 2) * SPACING_M;
      const y = (Math.floor(i / SIDE) - (SIDE - 1) / 2) * SPACING_M;
      const away = Math.max(Math.abs(x), Math.abs(y)) < PLAYER_M ? 1.2 * PLAYER_M : 0;
      this.#add(x + Math.sign(x) * away, y + Math.sign(y) * away, CUBE_M);
    }
    this.#read();
  }

  /** Loads the physics and places the cubes. @param seed Decides what the player does. */
  static async create(grants: Grants, seed: number): Promise<CubesScene> {
    await rapier.init();
    return new CubesScene(grants, seed);
  }

  /** One frame. */
  step(): void {
    if (!this.isIdle) this.#play();
    this.#world.step();
    this.#frame += 1;
    this.#read();
  }

  /** Frees the physics. */
  free(): void {
    this.#world.free();
  }

  #add(x: number, y: number, edge: number): void {
    const body = this.#world.createRigidBody(
      rapier.RigidBodyDesc.dynamic().setTranslation(x, y, edge / 2).setLinearDamping(0.1)
        .setAngularDamping(0.2),
    );
    const half = edge / 2;
    const box = rapier.ColliderDesc.cuboid(half, half, half).setDensity(1).setFriction(0.6);
    this.#world.createCollider(box, body);
    this.#bodies.push(body);
  }

  /** The player drives its cube about, turns back at the edge of the field, and now and then gathers what is near or lets it go. */
  #play(): void {
    const player = this.#bodies[0]!;
    const at = player.translation();
    if (this.#frame % DECISION_FRAMES === 0) {
      this.#heading += (this.#prng.nextFloat() - 0.5) * 2;
      const edge = SIDE * SPACING_M / 2;
      if (Math.hypot(at.x, at.y) > edge) this.#heading = Math.atan2(-at.y, -at.x);
      this.#isGathering = this.#prng.chance(GATHER_SHARE);
    }
    const velocity = player.linvel();
    const gain = DRIVE_GAIN * player.mass() / CUBES_HZ;
    player.applyImpulse({
      x: (DRIVE_SPEED * Math.cos(this.#heading) - velocity.x) * gain,
      y: (DRIVE_SPEED * Math.sin(this.#heading) - velocity.y) * gain,
      z: 0,
    }, true);
    for (let i = 1; i < CUBES; i++) {
      const body = this.#bodies[i]!;
      const place = body.translation();
      const [x, y, z] = [at.x - place.x, at.y - place.y, at.z - place.z];
      const distance = Math.hypot(x, y, z);
      if (distance > PULL_M) {
        this.#touched[i] = 0;
        continue;
      }
      this.#touched[i] = 1;
      if (!this.#isGathering) continue;
      const pull = PULL * body.mass() / CUBES_HZ / distance;
      body.applyImpulse({ x: x * pull, y: y * pull, z: z * pull }, true);
    }
  }

  #read(): void {
    const [position, orientation, interacting] = this.#grants.components[0]!.fields;
    const numbers = new Float64Array(4);
    for (let i = 0; i < CUBES; i++) {
      const body = this.#bodies[i]!;
      const at = i * LANES;
      this.lanes[at + interacting!.laneOffset] = this.#touched[i]!;
      if (this.#frame > 0 && body.isSleeping()) continue;
      const place = body.translation();
      const rotation = body.rotation();
      numbers.set([place.x, place.y, Math.max(0, place.z)]);
      const isPlaced = quantiseField(position!, numbers, 0, this.lanes, at + position!.laneOffset);
      numbers.set([rotation.x, rotation.y, rotation.z, rotation.w]);
      const isTurned = quantiseField(
        orientation!,
        numbers,
        0,
        this.lanes,
        at + orientation!.laneOffset,
      );
      assert(isPlaced && isTurned, "no cube leaves the field");
    }
  }
}
