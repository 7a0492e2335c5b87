// What it costs to come back into view: a difference where the peer surely keeps what it held, a whole value beyond that.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { createInterestResult, type InterestResult } from "../../replication/interest.ts";
import { quantiseField } from "../../replication/quantise.ts";
import { createValue } from "../../replication/value.ts";
import { historyTicksOf, World } from "../../replication/world.ts";
import { below, createPrng, type Prng } from "../support/prng.ts";
import { buildComponents, PLAYER, sampleGrants, TRANSFORM } from "../support/sample_grants.ts";
import { type Path, PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const ID = makeEntityId(1, 0);
const GRANTS = sampleGrants();
const HISTORY = historyTicksOf(GRANTS);
const AWAY = createInterestResult();

function inView(): InterestResult {
  const result = createInterestResult();
  result.count = 1;
  result.slots[0] = 1;
  return result;
}

/** One entity that may come and go, and the link that tells of it. */
class Visit {
  readonly world = new World(GRANTS);
  readonly link: SnapshotLink;
  readonly #value = createValue(GRANTS.components[TRANSFORM]!);
  readonly #at: number[];
  readonly #prng: Prng;
  readonly #here = inView();
  tick = 1;
  /** Values decoded in the last step. */
  values = 0;
  /** Of them those that came whole: the rotation never changes, so no difference names all fields. */
  whole = 0;

  constructor(prng: Prng, path: Path) {
    this.#prng = prng;
    this.#at = [0, 1, 2].map(() => prng() * 1_000 - 500);
    this.link = new SnapshotLink({
      grants: GRANTS,
      world: this.world,
      peer: 1,
      roleIndex: PLAYER,
      direction: "down",
      path,
      prng,
    });
    this.link.onDecoded = ({ entries, count }) => {
      const values = entries.slice(0, count).filter((entry) => entry.kind === "value");
      this.values += values.length;
      this.whole += values.filter((entry) => entry.mask === entry.held).length;
    };
    this.#quantise();
    const turn = GRANTS.components[TRANSFORM]!.fields[1]!;
    assert(quantiseField(turn, [0, 0, 0, 1], 0, this.#value.lanes, turn.laneOffset));
    this.world.spawn(ID, 0, 1);
    this.world.addComponent(ID, TRANSFORM, this.#value, 1, 64);
  }

  #quantise(): void {
    const field = GRANTS.components[TRANSFORM]!.fields[0]!;
    assert(quantiseField(field, this.#at, 0, this.#value.lanes, field.laneOffset));
  }

  /** One tick; the bits that went in it. */
  step(isHere: boolean, stepMetres: number): number {
    this.tick += 1;
    if (stepMetres > 0) {
      for (let i = 0; i < 3; i++) this.#at[i]! += (this.#prng() - 0.5) * stepMetres;
      this.#quantise();
      this.world.write(ID, TRANSFORM, 1, this.#value, this.tick, this.tick * 64);
    }
    this.world.expire(this.tick);
    this.values = this.whole = 0;
    const before = this.link.bitsSent;
    this.link.step(this.tick, isHere ? this.#here : AWAY);
    this.link.receiver.expire(this.tick);
    return this.link.bitsSent - before;
  }

  /** Whether the receiver has the newest value. */
  get isRight(): boolean {
    return this.link.receiver.hash(ID) === this.world.hash(ID);
  }
}

Deno.test("coming back within the history costs a difference, a header alone where nothing changed, and beyond it a whole value", () => {
  const shorter: number[] = [];
  for (let seed = 1; seed <= 300; seed++) {
    const prng = createPrng(seed);
    const visit = new Visit(prng, PERFECT);
    const first = visit.step(true, 0);
    assertEquals(visit.values, 1, `seed ${seed}`);
    for (let stays = 0; stays < 3; stays++) {
      const isMoving = prng() < 0.6;
      const stepMetres = isMoving ? 0.02 : 0;
      for (let n = 1 + below(prng, 20); n > 0; n--) visit.step(true, stepMetres);
      const isLong = prng() < 0.3;
      const away = isLong ? HISTORY + 2 + below(prng, 40) : 1 + below(prng, HISTORY - 2);
      for (let n = away; n > 0; n--) {
        visit.step(false, stepMetres);
        assertEquals(visit.values, 0, `seed ${seed}: nothing is told of what is out of view`);
      }
      const bits = visit.step(true, stepMetres);
      const context = `seed ${seed}, away ${away}, moving ${isMoving}, ${bits} of ${first} bits`;
      assert(visit.isRight, context);
      if (isLong) {
        assertEquals([visit.values, visit.whole], [1, 1], context);
        // Time and history are said more shortly once, but the value is not.
        assertGreater(bits, 0.85 * first, context);
      } else if (isMoving) {
        assertEquals([visit.values, visit.whole], [1, 0], context);
        assertLess(bits, first, context);
        shorter.push(bits / first);
      } else {
        assertEquals(visit.values, 0, context);
        assertLess(bits, first / 2, context);
        assertGreater(bits, 0, context);
      }
      assertEquals(visit.link.faults.size, 0, context);
    }
  }
  shorter.sort((a, b) => a - b);
  assertLess(shorter[shorter.length >> 1]!, 0.75);
});

Deno.test("coming and going leaves the receiver right, when datagrams and acknowledgements are lost, late and doubled", () => {
  for (let seed = 1; seed <= 150; seed++) {
    const prng = createPrng(seed);
    const path: Path = { loss: 0.3, duplicate: 0.1, minDelay: 0, maxDelay: 4 };
    const visit = new Visit(prng, path);
    for (let stays = 0; stays < 6; stays++) {
      const stepMetres = prng() < 0.6 ? 0.05 : 0;
      for (let n = 1 + below(prng, 12); n > 0; n--) visit.step(true, stepMetres);
      const away = prng() < 0.3 ? HISTORY - 4 + below(prng, 12) : 1 + below(prng, HISTORY);
      for (let n = away; n > 0; n--) visit.step(false, stepMetres);
      for (let n = 0; n < 60 && (n < 2 || !visit.isRight); n++) visit.step(true, 0);
      const context = `seed ${seed}, stay ${stays}, away ${away}`;
      assert(visit.isRight, context);
      assertEquals(visit.link.faults.size, 0, context);
    }
  }
});

/** One entity far from its owner, which is taken from it and given back; a field beside that its owner may read, or everybody. */
class Loan {
  readonly world: World;
  readonly link: SnapshotLink;
  readonly #value;
  #tick = 1;
  whole = 0;
  parts = 0;

  constructor(prng: Prng, path: Path, isOwnersAlone: boolean) {
    const all = 0b11;
    const others = isOwnersAlone ? 0b01 : all;
    const components = buildComponents([{
      id: 1,
      name: "Cart",
      fields: [{ name: "place", kind: "vec3" }, { name: "load", kind: "u32" }],
      readMasks: [all, others, others],
      ownerReadMask: isOwnersAlone ? 0b10 : 0,
      interestRadius: 50,
      positionField: 0,
    }]);
    const grants = sampleGrants({ components });
    this.world = new World(grants);
    const options = { grants, world: this.world, peer: 1, roleIndex: PLAYER, path, prng };
    this.link = new SnapshotLink({ ...options, direction: "down" });
    this.link.onDecoded = ({ entries, count }) => {
      for (const entry of entries.slice(0, count)) {
        if (entry.kind !== "value") continue;
        if (entry.reference < 0) this.whole += 1;
        else this.parts += 1;
      }
    };
    this.#value = createValue(components[0]!);
    this.world.spawn(ID, 1, 1);
    this.world.addComponent(ID, 0, this.#value, 1, 64);
  }

  /** So many ticks, the entity moving or not, and nothing within the interest of its owner. */
  run(ticks: number, isMoving: boolean): void {
    for (let i = 0; i < ticks; i++) {
      this.#tick += 1;
      if (isMoving) {
        this.#value.lanes[0] = 500_000 + this.#tick * 3;
        this.world.write(ID, 0, 0b11, this.#value, this.#tick, this.#tick * 64);
      }
      this.world.expire(this.#tick);
      this.link.step(this.#tick, AWAY);
      this.link.receiver.expire(this.#tick);
    }
  }

  give(owner: number): void {
    this.world.setOwner(ID, owner, this.#tick + 1);
  }

  get isRight(): boolean {
    return this.link.receiver.hash(ID) === this.world.hash(ID);
  }
}

Deno.test("an entity out of view that is taken from its owner and given back names no version that was erased", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const prng = createPrng(seed);
    const loss = seed % 2 === 0 ? 0 : 0.2;
    const path: Path = { loss, duplicate: loss / 2, minDelay: 0, maxDelay: below(prng, 5) };
    const isOwnersAlone = prng() < 0.7;
    const loan = new Loan(prng, path, isOwnersAlone);
    loan.run(20 + below(prng, 20), prng() < 0.7);
    for (let loans = 0; loans < 3; loans++) {
      loan.give(0);
      const away = 1 + below(prng, HISTORY + 10);
      loan.run(away, prng() < 0.7);
      loan.give(1);
      loan.whole = loan.parts = 0;
      loan.run(1 + below(prng, 30), true);
      loan.run(40, false);
      const context =
        `seed ${seed}, loan ${loans}, away ${away}, for owners alone ${isOwnersAlone}`;
      // What is overtaken by the header that erases its reference is refused, which is nobody's mistake.
      const faults = [...loan.link.faults.keys()];
      assertEquals(faults.filter((name) => name !== "WrongEpoch"), [], context);
      if (path.maxDelay === 0) assertEquals(faults, [], context);
      assert(loan.isRight, context);
      // What the peer may read in any case it has not erased, so that a whole value would be a waste.
      if (isOwnersAlone) assertGreater(loan.whole, 0, context);
      else if (loss === 0 && away < HISTORY - 20) assertEquals(loan.whole, 0, context);
    }
  }
});
