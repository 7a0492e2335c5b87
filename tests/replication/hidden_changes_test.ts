// Twins: two worlds that differ in nothing but whether and when fields change that the viewer may not read. What leaves for the viewer must be
// the same bytes at the same ticks, over bad paths, pauses and every way of coming and going.

import { assertEquals, assertGreater } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import type { Grants } from "../../permissions/grants.ts";
import { createInterestResult, type InterestResult } from "../../replication/interest.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { buildComponents, PLAYER, sampleGrants, SPECTATOR } from "../support/sample_grants.ts";
import { SnapshotLink } from "../support/snapshot_link.ts";

const VIEWER = 1;
const ENTITIES = 3;
const TICKS = 500;
/** Of all components: fields that the viewer never reads. */
const HIDDEN = 0b1010;
/** The component that owners write. */
const OWN = 2;

function twinGrants(prng: Prng): Grants {
  const tickHz = [30, 60, 120][below(prng, 3)]!;
  const fields = [
    { name: "place", kind: "vec3" as const },
    { name: "secret", kind: "u32" as const },
    { name: "level", kind: "u16" as const },
    { name: "other", kind: "string" as const },
    { name: "friend", kind: "entity" as const },
  ];
  const all = 0b11111;
  const shown = all & ~HIDDEN;
  const components = buildComponents([
    {
      id: 1,
      name: "Fast",
      fields,
      readMasks: [all, shown, shown & 0b1],
      rateHz: tickHz,
      interestRadius: 20,
      positionField: 0,
    },
    {
      id: 2,
      name: "Slow",
      fields,
      readMasks: [all, shown, shown & 0b1],
      ownerReadMask: shown,
      rateHz: [1, 2, 10][below(prng, 3)]!,
    },
    {
      id: 3,
      name: "Own",
      fields,
      readMasks: [all, shown & 0b1, 0],
      ownerReadMask: shown,
      rateHz: tickHz,
      authority: "owner",
    },
  ]);
  const historyMs = [250, 1_000, 2_000, 10_000][below(prng, 4)]!;
  return sampleGrants({ components, tickHz, historyMs });
}

/** One of the twins: `script` is the same in both, and only the one with `secrets` writes hidden fields after the first tick. */
class Twin {
  readonly link: SnapshotLink;
  /** Hidden fields that changed. */
  secretWrites = 0;
  tick = 1;
  readonly #world: World;
  readonly #grants: Grants;
  readonly #values: ComponentValue[];
  readonly #candidates = createInterestResult();
  readonly #near = new Uint8Array(ENTITIES + 1).fill(1);
  readonly #script: Prng;
  readonly #secrets: Prng | undefined;
  readonly #restlessness: number;
  #role = PLAYER;
  #epoch = 0;
  #asleep = 0;

  constructor(seed: number, hasSecrets: boolean) {
    const script = createPrng(seed);
    this.#script = script;
    this.#secrets = hasSecrets ? createPrng(seed + 7_777) : undefined;
    this.#grants = twinGrants(script);
    this.#world = new World(this.#grants);
    this.#restlessness = [1, 0.5, 0.1][below(script, 3)]!;
    const minDelay = below(script, 4);
    this.link = new SnapshotLink({
      grants: this.#grants,
      world: this.#world,
      peer: VIEWER,
      roleIndex: PLAYER,
      direction: "down",
      prng: script,
      path: {
        loss: [0, 0.1, 0.4][below(script, 3)]!,
        duplicate: 0.05,
        minDelay,
        maxDelay: minDelay + below(script, 6),
      },
      maxBits: script() < 0.3 ? 1_500 : 8_800,
      maxDatagrams: 2,
    });
    this.#values = this.#grants.components.map(createValue);
    for (let slot = 1; slot <= ENTITIES; slot++) {
      const id = makeEntityId(slot, 0);
      this.#world.spawn(id, slot === 1 ? VIEWER : 0, 1);
      for (const { index } of this.#grants.components) {
        this.#world.addComponent(id, index, this.#values[index]!, 1, 64);
      }
    }
  }

  /** One tick of the script. */
  step(): void {
    const prng = this.#script;
    this.tick += 1;
    for (let slot = 1; slot <= ENTITIES; slot++) {
      const id = makeEntityId(slot, 0);
      if (prng() < 0.01) this.#near[slot]! ^= 1;
      if (prng() < 0.005) this.#world.setOwner(id, below(prng, 2), this.tick);
      for (const { index } of this.#grants.components) {
        this.#change(id, index);
        if (prng() < 0.003) this.link.sender.putRight(id, index);
      }
    }
    if (prng() < 0.004) this.#changeRole();
    const path = this.link.path;
    if (prng() < 0.005) this.link.path = { ...path, loss: path.loss === 1 ? 0.1 : 1 };
    if (prng() < 0.004) this.#asleep = below(prng, 130);
    this.#asleep -= 1;
    // Now and then there is no room for state for a while: what is seen is decided all the same.
    if (this.#asleep < 0) this.link.step(this.tick, this.#inView());
    else this.link.sender.updateView(this.tick, this.#inView());
    this.#world.expire(this.tick);
  }

  #inView(): InterestResult {
    const candidates = this.#candidates;
    candidates.count = 0;
    for (let slot = 1; slot <= ENTITIES; slot++) {
      if (this.#near[slot] === 0) continue;
      candidates.slots[candidates.count] = slot;
      candidates.distanceSquared[candidates.count] = 1;
      candidates.count += 1;
    }
    return candidates;
  }

  #changeRole(): void {
    this.#role = this.#role === PLAYER ? SPECTATOR : PLAYER;
    this.#epoch = (this.#epoch + 1) & 0xff;
    this.link.sender.setRole(this.#role, this.#epoch);
    this.link.receiver.setRole(this.#role, this.#epoch);
  }

  /** What of one component changes in a tick: what everybody may know as the script says, and the secrets about it. */
  #change(id: number, c: number): void {
    const prng = this.#script;
    const dice = prng();
    const isBusy = ((this.tick >> 6) + id + c) % 3 !== 0;
    const isChanged = dice < (isBusy ? 0.5 : 0.01);
    const mask = prng() < 0.7 ? 0b1 : 0b10101;
    const step = 1 + below(prng, 9);
    const friend = makeEntityId(1 + below(prng, ENTITIES), 0);
    const isBack = prng() < 0.3;
    const late = prng() < 0.5 ? 0 : below(prng, 100);
    const isSynced = prng() < 0.5;
    if (this.#secrets !== undefined && this.#secrets() < 0.5) this.#changeSecrets(id, c, late);
    if (isChanged) {
      const value = this.#values[c]!;
      this.#world.read(id, c, value);
      // Now and then back to where it was.
      value.lanes[0] = isBack ? 500_000 : value.lanes[0]! + step;
      value.lanes[4] = step;
      value.lanes[5] = friend;
      this.#world.write(id, c, mask, value, this.tick, this.tick * 64 - late);
      const isOwn = this.#world.owner(id) === VIEWER;
      if (c === OWN && isOwn && isSynced) this.link.sender.markSynced(id, c);
    }
    if (this.#secrets !== undefined && this.#secrets() < 0.5) this.#changeSecrets(id, c, late);
  }

  #changeSecrets(id: number, c: number, late: number): void {
    const prng = this.#secrets!;
    if (prng() >= this.#restlessness) return;
    // What others write to a component of an owner's is an override, which the owner is told of in any case.
    if (c === OWN && this.#world.owner(id) === VIEWER) return;
    const value = this.#values[c]!;
    this.#world.read(id, c, value);
    value.lanes[3] = below(prng, 1_000);
    value.blobs[0] = new Uint8Array(below(prng, 20));
    const time = this.tick * 64 - late;
    if (this.#world.write(id, c, HIDDEN, value, this.tick, time) !== 0) this.secretWrites += 1;
  }
}

Deno.test("what a viewer is sent is the same to the last bit, whether and when fields change that it may not read", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const calm = new Twin(seed, false);
    const restless = new Twin(seed, true);
    let compared = 0;
    for (let i = 0; i < TICKS; i++) {
      calm.step();
      restless.step();
      const { sent } = calm.link;
      const others = restless.link.sent;
      for (; compared < Math.max(sent.length, others.length); compared++) {
        const hex = (one: typeof sent[0] | undefined) => `${one?.tick}: ${one?.bytes.toHex()}`;
        assertEquals(
          hex(others[compared]),
          hex(sent[compared]),
          `seed ${seed}, tick ${calm.tick}, datagram ${compared}`,
        );
      }
    }
    assertGreater(compared, 50, `seed ${seed}`);
    assertGreater(restless.secretWrites, 100, `seed ${seed}`);
    assertEquals(restless.link.faults.get("UnknownBaseline"), undefined, `seed ${seed}`);
  }
});
