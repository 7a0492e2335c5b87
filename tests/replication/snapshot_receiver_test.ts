// A receiver against bytes that no honest sender wrote. Sections come from a real sender, or are written bit by bit here.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Fault, faultName } from "../../protocol/faults.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";
import { Adjustments } from "../../permissions/adjustments.ts";
import { foldSigned, writeGamma } from "../../replication/gamma.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { type DecodedSnapshot, SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { driverGrants } from "../support/driver_world.ts";
import { createPrng } from "../support/prng.ts";
import { randomValue } from "../support/random_values.ts";
import {
  AVATAR,
  buildComponents,
  EVERYTHING,
  HEALTH,
  NAME,
  PLAYER,
  SAMPLE_COMPONENTS,
  sampleGrants,
  TRANSFORM,
} from "../support/sample_grants.ts";
import { PERFECT, SnapshotLink } from "../support/snapshot_link.ts";

const GRANTS = sampleGrants();
/** Bits of a component index: six components. */
const C = 3;
/** Bits of an age: a window of 60 ticks. */
const A = 6;
const TICK = 1_000;

function newReceiver(direction: "down" | "up" = "down"): SnapshotReceiver {
  return new SnapshotReceiver({ grants: GRANTS, roleIndex: PLAYER, direction });
}

/** A section of what `write` adds to an epoch of 0. */
function section(write: (w: Writer) => void): Uint8Array {
  const writer = new Writer();
  writer.bits(0, 8);
  write(writer);
  return writer.finish();
}

function decode(
  receiver: SnapshotReceiver,
  bytes: Uint8Array,
  tick = TICK,
): DecodedSnapshot | string {
  const reader = new Reader(bytes);
  const decoded = receiver.decode(reader, tick);
  assertEquals(decoded === undefined, reader.fault !== undefined);
  return decoded ?? faultName(reader.fault!);
}

function accept(receiver: SnapshotReceiver, bytes: Uint8Array, tick = TICK): DecodedSnapshot {
  const decoded = decode(receiver, bytes, tick);
  assert(typeof decoded !== "string", `refused: ${decoded}`);
  receiver.commit(decoded);
  return decoded;
}

/** An entity without header, up to its values. */
function entity(w: Writer, gap: number): void {
  w.bits(1, 1);
  w.bits(0, 1); // no run
  writeGamma(w, gap);
  w.bits(0, 1);
}

/** A value up to its contents: version at the datagram's tick, no offset. */
function value(w: Writer, component: number, code: number | undefined, age = 0): void {
  w.bits(1, 1);
  w.bits(component, C);
  w.bits(0, 1);
  w.bits(code === undefined ? 0 : 1, 1);
  if (code !== undefined) w.bits(code, 2);
  if (code === 0) {
    w.bits(age, A);
    w.bits(0, 1); // no versions before it
  }
  w.bits(0, 1);
}

/** Health, absolute: its one field that a player may read. */
function points(w: Writer, number: number, mask = 0b01): void {
  w.bits(mask, 2);
  w.bits(number, 8);
}

/** The end of values and the end of entities. */
function end(w: Writer): void {
  w.bits(0, 1);
  w.bits(0, 1);
}

function header(w: Writer, gap: number, state: number, ...components: number[]): void {
  w.bits(1, 1);
  w.bits(0, 1); // no run
  writeGamma(w, gap);
  w.bits(1, 1);
  w.bits(state, 2);
  if (state !== 0) return;
  w.bits(7, 16);
  w.bits(3, 8);
  for (const component of components) {
    w.bits(1, 1);
    w.bits(component, C);
    w.bits(0, 1);
  }
  w.bits(0, 1);
}

/** Sections that a real sender wrote, with ticks: spawns, changes, a large value, an end. */
function realSections(): { tick: number; bytes: Uint8Array }[] {
  const prng = createPrng(3);
  const world = new World(GRANTS);
  const link = new SnapshotLink({
    grants: GRANTS,
    world,
    peer: 1,
    roleIndex: PLAYER,
    direction: "down",
    path: PERFECT,
    prng,
  });
  const candidates = { count: 2, slots: Int32Array.of(1, 2), distanceSquared: new Float64Array(2) };
  for (let tick = 1; tick <= 8; tick++) {
    for (const id of [1, 2]) {
      if (tick === 1) world.spawn(id, id - 1, tick);
      if (tick === 8 && id === 2) {
        world.despawn(id, tick);
        continue;
      }
      for (const component of GRANTS.components) {
        const { index } = component;
        const next = randomValue(component, prng, id === 1 && tick === 3 ? 3_000 : 20);
        const time = tick * 64 - index;
        if (tick === 1) world.addComponent(id, index, next, tick, time);
        else world.write(id, index, component.allFields, next, tick, time);
      }
    }
    link.step(tick, candidates);
  }
  assertEquals(link.faults.size, 0);
  return link.sent;
}

/** All that a receiver holds of the entities of `realSections`, as text. */
function snapshotOf(receiver: SnapshotReceiver): string {
  const parts: unknown[] = [receiver.heldCount];
  for (const id of [1, 2]) {
    for (const component of GRANTS.components) {
      const out = randomValue(component, createPrng(1));
      const mask = receiver.read(id, component.index, out);
      parts.push(mask, receiver.newestTick(id, component.index));
      if (mask !== 0) parts.push([...out.lanes], out.blobs.map((blob) => [...blob]));
    }
  }
  return JSON.stringify(parts);
}

Deno.test("`SnapshotReceiver.decode()` refuses every truncation and changes nothing", () => {
  const receiver = newReceiver();
  for (const { tick, bytes } of realSections()) {
    const before = snapshotOf(receiver);
    for (let length = 0; length < bytes.length; length++) {
      const result = decode(receiver, bytes.subarray(0, length), tick);
      assert(typeof result === "string", `${length} of ${bytes.length} bytes at tick ${tick}`);
    }
    assertEquals(snapshotOf(receiver), before);
    accept(receiver, bytes, tick);
  }
  assertNotEquals(snapshotOf(receiver), snapshotOf(newReceiver()));
});

Deno.test("`SnapshotReceiver.decode()` refuses a section with a byte more", () => {
  const receiver = newReceiver();
  const [first] = realSections();
  const longer = new Uint8Array([...first!.bytes, 0]);
  assertEquals(decode(receiver, longer, first!.tick), "Trailing");
});

Deno.test("`SnapshotReceiver.decode()` takes every single flipped bit without a crash or a change", () => {
  const receiver = newReceiver();
  let refused = 0;
  let flips = 0;
  for (const { tick, bytes } of realSections()) {
    const before = snapshotOf(receiver);
    const damaged = bytes.slice();
    const step = bytes.length > 500 ? 7 : 1;
    for (let bit = 0; bit < bytes.length * 8; bit += step) {
      damaged[bit >>> 3]! ^= 1 << (bit & 7);
      flips += 1;
      if (typeof decode(receiver, damaged, tick) === "string") refused += 1;
      damaged[bit >>> 3]! ^= 1 << (bit & 7);
    }
    assertEquals(snapshotOf(receiver), before);
    accept(receiver, bytes, tick);
  }
  assert(refused > 0 && refused < flips);
});

Deno.test("`SnapshotReceiver.commit()` of damaged but legal sections keeps later honest ones decodable or refused", () => {
  const prng = createPrng(9);
  const sections = realSections();
  for (let round = 0; round < 60; round++) {
    const receiver = newReceiver();
    for (const { tick, bytes } of sections) {
      const damaged = bytes.slice();
      for (let i = 0; i < 3; i++) {
        damaged[Math.floor(prng() * damaged.length)]! ^= 1 << Math.floor(prng() * 8);
      }
      const result = decode(receiver, damaged, tick);
      if (typeof result !== "string") receiver.commit(result);
      const honest = decode(receiver, bytes, tick);
      if (typeof honest !== "string") receiver.commit(honest);
    }
  }
});

Deno.test("`SnapshotReceiver` takes an absolute value and a change of it", () => {
  const receiver = newReceiver();
  const first = accept(
    receiver,
    section((w) => {
      header(w, 5, 0, HEALTH);
      value(w, HEALTH, 2);
      points(w, 40);
      end(w);
    }),
  );
  assertEquals(first.count, 2);
  const [head, body] = first.entries;
  assertEquals([head!.kind, head!.id, head!.state, head!.owner, head!.epoch, head!.fresh], [
    "header",
    5,
    "alive",
    7,
    3,
    true,
  ]);
  assertEquals(head!.visible, [HEALTH]);
  assertEquals([body!.held, body!.mask, body!.versionTick, body!.time], [1, 1, TICK, TICK * 64]);
  const second = accept(
    receiver,
    section((w) => {
      entity(w, 5);
      value(w, HEALTH, 0, 2);
      points(w, 41);
      end(w);
    }),
    TICK + 2,
  );
  assertEquals(second.entries[0]!.value.lanes[0], 41);
  assertEquals(second.entries[0]!.epoch, 3);
});

Deno.test("`SnapshotReceiver` resolves the code for a version older than the window", () => {
  const receiver = newReceiver();
  const absolute = section((w) => {
    entity(w, 5);
    value(w, HEALTH, 2);
    points(w, 40);
    end(w);
  });
  accept(receiver, absolute);
  const old = section((w) => {
    entity(w, 5);
    value(w, HEALTH, 1);
    points(w, 41);
    end(w);
  });
  assertEquals(decode(receiver, old, TICK + 60), "UnknownBaseline");
  const later = accept(receiver, old, TICK + 61);
  assertEquals(later.entries[0]!.value.lanes[0], 41);
});

/** Sections with one thing wrong each. */
const WRONG: [string, keyof typeof Fault, (w: Writer) => void][] = [
  ["no entity", "NonCanonical", (w) => w.bits(0, 1)],
  ["an entity without anything", "NonCanonical", (w) => {
    entity(w, 5);
    end(w);
  }],
  ["slot 0", "OutOfRange", (w) => {
    entity(w, 1 << 20);
    value(w, HEALTH, 2);
    points(w, 1);
    end(w);
  }],
  ["a slot above the world's", "OutOfRange", (w) => {
    entity(w, GRANTS.maxEntities + 1);
    value(w, HEALTH, 2);
    points(w, 1);
    end(w);
  }],
  ["an id beyond 32 bits", "OutOfRange", (w) => {
    for (const gap of [0xffff_ffff - 0xff_fff + 4, 0xff_fff]) {
      entity(w, gap);
      value(w, HEALTH, 2);
      points(w, 1);
      w.bits(0, 1);
    }
    w.bits(0, 1);
  }],
  ["an unknown component", "UnknownId", (w) => {
    entity(w, 5);
    value(w, 6, 2);
    points(w, 1);
    end(w);
  }],
  ["components that descend", "NonCanonical", (w) => {
    entity(w, 5);
    for (let i = 0; i < 2; i++) {
      value(w, HEALTH, 2);
      points(w, 1);
    }
    end(w);
  }],
  ["a field the peer may not read", "Forbidden", (w) => {
    entity(w, 5);
    value(w, HEALTH, 2);
    points(w, 1, 0b11);
    w.bits(7, 32);
    end(w);
  }],
  ["a value without fields", "NonCanonical", (w) => {
    entity(w, 5);
    value(w, HEALTH, 2);
    w.bits(0, 2);
    end(w);
  }],
  ["a reference nobody holds", "UnknownBaseline", (w) => {
    entity(w, 5);
    value(w, HEALTH, 0, 3);
    points(w, 1);
    end(w);
  }],
  ["a reference of age 0", "OutOfRange", (w) => {
    entity(w, 5);
    value(w, HEALTH, 0, 0);
    points(w, 1);
    end(w);
  }],
  ["a reference older than the window by its age", "OutOfRange", (w) => {
    entity(w, 5);
    value(w, HEALTH, 0, 61);
    points(w, 1);
    end(w);
  }],
  ["the age before where there is none", "NonCanonical", (w) => {
    entity(w, 5);
    value(w, HEALTH, undefined);
    points(w, 1);
    end(w);
  }],
  ["an offset that is the one before", "NonCanonical", (w) => {
    entity(w, 5);
    w.bits(1, 1);
    w.bits(HEALTH, C);
    w.bits(0, 1);
    w.bits(1, 1);
    w.bits(2, 2);
    w.bits(1, 1);
    writeGamma(w, foldSigned(0) + 1);
    points(w, 1);
    end(w);
  }],
  ["a sample time below 0", "OutOfRange", (w) => {
    entity(w, 5);
    w.bits(1, 1);
    w.bits(HEALTH, C);
    w.bits(0, 1);
    w.bits(1, 1);
    w.bits(2, 2);
    w.bits(1, 1);
    writeGamma(w, foldSigned(TICK * 64 + 1) + 1);
    points(w, 1);
    end(w);
  }],
  ["a version below 0", "OutOfRange", (w) => {
    entity(w, 5);
    w.bits(1, 1);
    w.bits(HEALTH, C);
    w.bits(1, 1);
    writeGamma(w, TICK + 1);
    w.bits(1, 1);
    w.bits(2, 2);
    w.bits(1, 1);
    writeGamma(w, foldSigned(-100) + 1);
    points(w, 1);
    end(w);
  }],
  ["an unknown state", "UnknownKind", (w) => {
    header(w, 5, 3);
    end(w);
  }],
  ["a value that its header does not show", "Unexpected", (w) => {
    header(w, 5, 0, TRANSFORM);
    value(w, HEALTH, 2);
    points(w, 1);
    end(w);
  }],
  ["a small value in pieces", "NonCanonical", (w) => {
    entity(w, 5);
    value(w, NAME, 3);
    w.varint(30);
    w.bytes(new Uint8Array(30));
    end(w);
  }],
  ["pieces of more than the component takes", "OutOfRange", (w) => {
    entity(w, 5);
    value(w, 5, 3);
    w.varint(65_536 + 7);
    w.bits(0, 7);
    w.bytes(new Uint8Array(960));
    end(w);
  }],
  ["a piece beyond the last", "OutOfRange", (w) => {
    entity(w, 5);
    value(w, 5, 3);
    w.varint(960 * 5);
    w.bits(5, 3);
    w.bytes(new Uint8Array(960));
    end(w);
  }],
];

for (const [name, fault, write] of WRONG) {
  Deno.test(`\`SnapshotReceiver.decode()\` refuses ${name} as ${fault}`, () => {
    const receiver = newReceiver();
    assertEquals(decode(receiver, section(write)), fault);
    assertEquals(receiver.heldCount, 0);
  });
}

Deno.test("`SnapshotReceiver.decode()` refuses another grant epoch before anything else", () => {
  const receiver = newReceiver();
  receiver.setRole(PLAYER, 2);
  assertEquals(decode(receiver, section((w) => w.bits(0, 1))), "WrongEpoch");
});

Deno.test("`SnapshotReceiver.decode()` refuses more values in pieces than a link has places", () => {
  const receiver = newReceiver();
  const piece = (id: number) =>
    section((w) => {
      entity(w, id);
      value(w, 5, 3);
      w.varint(2_000);
      w.bits(0, 2);
      w.bytes(new Uint8Array(960));
      end(w);
    });
  for (let id = 1; id <= 4; id++) accept(receiver, piece(id));
  assertEquals(decode(receiver, piece(5)), "OutOfRange");
  // More of a value that has a place is welcome, and a newer version takes the place of the older one.
  accept(receiver, piece(4));
  accept(receiver, piece(4), TICK + 1);
  assertEquals(decode(receiver, piece(5)), "OutOfRange");
});

Deno.test("`SnapshotReceiver.decode()` refuses pieces that contradict each other or end in a bad value", () => {
  const receiver = newReceiver();
  const whole = new Writer();
  whole.bits(1, 1);
  whole.varint(1_500);
  whole.bytes(new Uint8Array(1_500));
  const good = whole.finish();
  const piece = (bytes: Uint8Array, index: number, total = bytes.length) =>
    section((w) => {
      entity(w, 9);
      value(w, 5, 3);
      w.varint(total);
      w.bits(index, 1);
      w.bytes(bytes.subarray(index * 960, Math.min(index * 960 + 960, total)));
      end(w);
    });
  accept(receiver, piece(good, 0));
  assertEquals(decode(receiver, piece(new Uint8Array(1_600), 1)), "Unexpected");
  const padded = good.slice();
  padded[padded.length - 1]! |= 0x80;
  assertEquals(decode(receiver, piece(padded, 1)), "NonCanonical");
  const decoded = accept(receiver, piece(good, 1));
  assertEquals(decoded.entries[0]!.value.blobs[0]!.length, 1_500);
  assertEquals(receiver.heldMask(9, 5), 1);
});

Deno.test("`SnapshotReceiver` holds one entity a slot, the latest: what comes late of an earlier one does not count", () => {
  const grants = sampleGrants({ maxEntities: 8 });
  const receiver = new SnapshotReceiver({ grants, roleIndex: PLAYER, direction: "down" });
  const of = (slot: number, generation: number, state: 0 | 2) =>
    section((w) => {
      header(w, ((generation << 20) | slot) >>> 0, state);
      w.bits(0, 1);
    });
  // Generations go round, and so does a slot's use within the time that ends are held.
  for (let life = 0; life < 4_200; life++) {
    const decoded = accept(receiver, of(1 + life % 8, (life >>> 3) + 4_000 & 0xfff, 2));
    assert(decoded.entries[0]!.fresh, `life ${life}`);
    assert(receiver.heldCount <= 8);
  }
  assertEquals(receiver.heldCount, 8);
  const late = accept(receiver, of(1, (4_199 >>> 3) + 3_999 & 0xfff, 2));
  assertEquals(late.entries[0]!.fresh, false);
  assertEquals(receiver.heldCount, 8);
});

Deno.test("`SnapshotReceiver` holds nothing of entities that the other end has no business with", () => {
  const receiver = new SnapshotReceiver({
    grants: GRANTS,
    roleIndex: PLAYER,
    direction: "up",
    mayHold: (id) => id === 5,
  });
  for (let id = 1; id < 40; id++) {
    const bytes = section((w) => {
      w.bits(1, 1);
      writeGamma(w, id);
      w.bits(1, 1);
      w.bits(2, 2);
      w.bits(0, 1);
    });
    const decoded = accept(receiver, bytes);
    assert(decoded.entries[0]!.fresh);
  }
  assertEquals(receiver.heldCount, 1);
});

Deno.test("`SnapshotReceiver` forgets ended entities when no sender can mean them any more", () => {
  const receiver = newReceiver();
  accept(
    receiver,
    section((w) => {
      header(w, 5, 2);
      w.bits(0, 1);
    }),
  );
  const other = section((w) => {
    header(w, 6, 0);
    end(w);
  });
  accept(receiver, other, TICK + 60 + 64);
  assertEquals(receiver.heldCount, 2);
  accept(receiver, other, TICK + 60 + 65);
  assertEquals(receiver.heldCount, 1);
});

Deno.test("`SnapshotReceiver.expire()` forgets ended entities though nothing comes any more, and refuses what comes too late then", () => {
  const receiver = newReceiver();
  const gone = section((w) => {
    header(w, 5, 2);
    w.bits(0, 1);
  });
  accept(receiver, gone);
  const quiet = 5 * GRANTS.tickHz;
  receiver.expire(TICK + quiet + 60 + 64);
  assertEquals(receiver.heldCount, 1);
  assert(typeof decode(receiver, gone, TICK) !== "string");
  receiver.expire(TICK + quiet + 60 + 65);
  assertEquals(receiver.heldCount, 0);
  assertEquals(decode(receiver, gone, TICK), "Replayed");
  // Where datagrams come, they alone say what is too old.
  const busy = newReceiver();
  accept(busy, gone, TICK + 100);
  busy.expire(TICK + 100 + quiet);
  assertEquals(decode(busy, gone, TICK + 100 - 125), "Replayed");
  assert(typeof decode(busy, gone, TICK + 100 - 124) !== "string");
});

Deno.test("`SnapshotReceiver.decode()` refuses a datagram older than what it keeps", () => {
  const receiver = newReceiver();
  const bytes = section((w) => {
    header(w, 6, 0);
    end(w);
  });
  accept(receiver, bytes);
  accept(receiver, bytes, TICK - 124);
  assertEquals(decode(receiver, bytes, TICK - 125), "Replayed");
});

Deno.test("`SnapshotReceiver` marks what is not newer than it holds", () => {
  const receiver = newReceiver();
  const bytes = (number: number) =>
    section((w) => {
      header(w, 5, 0, HEALTH);
      value(w, HEALTH, 2);
      points(w, number);
      end(w);
    });
  accept(receiver, bytes(50), TICK);
  const late = accept(receiver, bytes(40), TICK - 3);
  assertEquals(late.entries.slice(0, 2).map((entry) => entry.fresh), [false, false]);
  assertEquals(late.entries[1]!.mask, 0);
  assertEquals(receiver.newestTick(5, HEALTH), TICK);
});

Deno.test("`SnapshotReceiver` does not take a value for one of a component removed since", () => {
  const receiver = newReceiver();
  accept(
    receiver,
    section((w) => {
      header(w, 5, 0, TRANSFORM);
      end(w);
    }),
  );
  const late = accept(
    receiver,
    section((w) => {
      entity(w, 5);
      value(w, HEALTH, 2);
      points(w, 1);
      end(w);
    }),
    TICK - 1,
  );
  assertEquals(late.entries[0]!.fresh, false);
  assertEquals(receiver.heldMask(5, HEALTH), 0);
});

Deno.test("`SnapshotReceiver.setRole()` erases what the masks no longer agree on", () => {
  const components = buildComponents(
    SAMPLE_COMPONENTS.map((spec) =>
      spec.name === "Health" ? { ...spec, readMasks: [0b11, 0b11, 0b01] } : spec
    ),
  );
  const grants = sampleGrants({ components });
  const receiver = new SnapshotReceiver({ grants, roleIndex: PLAYER, direction: "down" });
  accept(
    receiver,
    section((w) => {
      header(w, 5, 0, NAME, HEALTH);
      value(w, NAME, 2);
      w.bits(1, 1);
      w.varint(1);
      w.bytes(Uint8Array.of(65));
      value(w, HEALTH, 2);
      points(w, 9, 0b11);
      w.bits(1234, 32);
      end(w);
    }),
  );
  assertEquals([receiver.heldMask(5, NAME), receiver.heldMask(5, HEALTH)], [1, 0b11]);
  receiver.setRole(2, 1);
  assertEquals([receiver.heldMask(5, NAME), receiver.heldMask(5, HEALTH)], [1, 0]);
});

Deno.test("`SnapshotReceiver` of a server takes from a client only what its role may write", () => {
  const up = (component: number, write: (w: Writer) => void) =>
    section((w) => {
      w.bits(1, 1);
      writeGamma(w, 5);
      w.bits(0, 1);
      w.bits(17, 8);
      value(w, component, 2);
      write(w);
      end(w);
    });
  const receiver = newReceiver("up");
  assertEquals(decode(receiver, up(HEALTH, (w) => points(w, 1))), "Forbidden");
  const name = up(NAME, (w) => {
    w.bits(1, 1);
    w.varint(1);
    w.bytes(Uint8Array.of(65));
  });
  const decoded = accept(receiver, name);
  assertEquals(decoded.entries[0]!.epoch, 17);
  const narrower = new SnapshotReceiver({
    grants: GRANTS,
    roleIndex: PLAYER,
    direction: "up",
    fieldsAllowed: (c) => c === AVATAR || c === EVERYTHING ? -1 : 0,
  });
  assertEquals(decode(narrower, name), "Forbidden");
});

Deno.test("`SnapshotReceiver.forget()` frees an entity at once", () => {
  const receiver = newReceiver();
  accept(
    receiver,
    section((w) => {
      header(w, 5, 0);
      end(w);
    }),
  );
  receiver.forget(5);
  receiver.forget(5);
  assertEquals(receiver.heldCount, 0);
});

Deno.test("SnapshotReceiver takes nothing of an epoch of the same number that is 256 changes old", () => {
  const card = {
    id: 1,
    name: "Card",
    fields: { a: { type: "u32" }, c: { type: "u32", read: [], write: [] } },
    authority: "owner",
    read: ["all"],
    write: ["player"],
    rateHz: 30,
    grantable: { read: ["c"] },
  };
  const grants = driverGrants({ components: [card], voice: undefined, maxEntities: 64 });
  const component = grants.components[0]!;
  const readable = { readGranted: 2, readRevoked: 0, writeGranted: 0, writeRevoked: 0 };
  const adjusted = new Adjustments();
  adjusted.set(component, readable);
  const theirs = new Adjustments();
  theirs.copy(adjusted);
  const world = new World(grants);
  const options = { grants, roleIndex: 1, direction: "down", peer: 1 } as const;
  const sender = new SnapshotSender({ ...options, world, adjusted });
  const receiver = new SnapshotReceiver({ ...options, adjusted: theirs, fieldsAllowed: () => 3 });
  const value = createValue(component);
  value.lanes[1] = 4242;
  const id = 1 << 20 | 1;
  world.spawn(id, 0, 1);
  world.addComponent(id, 0, value, 1, 64);
  const interest = new Interest(grants, world);
  const found = createInterestResult();
  interest.rebuild();
  interest.query(undefined, found);
  sender.updateView(1, found);
  const writer = new Writer(1_200);
  assert(sender.writeSection(writer, 8_000, 1, 1));
  for (let i = 1; i <= 256; i++) {
    theirs.set(component, { ...readable, readGranted: 0, readRevoked: 2 });
    receiver.setRole(1, i & 255);
  }
  const reader = new Reader(writer.finish());
  assertEquals(receiver.decode(reader, 1), undefined);
  assertEquals(reader.fault, Fault.WrongEpoch);
});
