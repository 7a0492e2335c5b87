import { assert, assertEquals } from "@std/assert";
import { decode, encode, type ValueType } from "@std/msgpack";
import {
  clampText,
  type Decoded,
  decodeToDriver,
  decodeToEngine,
  encodeToDriver,
  encodeToEngine,
} from "../../protocol/engine_codec.ts";
import { TO_DRIVER, TO_ENGINE } from "../../protocol/engine_layout.ts";
import type { ToDriver, ToEngine } from "../../protocol/engine_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import { TO_DRIVER_SAMPLES, TO_ENGINE_SAMPLES } from "../support/engine_link_samples.ts";

interface Direction<M extends ToEngine | ToDriver> {
  readonly samples: readonly M[];
  readonly kinds: readonly string[];
  encode(message: M): Uint8Array;
  decode(frame: Uint8Array): Decoded<M>;
}

const ENGINE: Direction<ToEngine> = {
  samples: TO_ENGINE_SAMPLES,
  kinds: Object.keys(TO_ENGINE),
  encode: encodeToEngine,
  decode: decodeToEngine,
};
const DRIVER: Direction<ToDriver> = {
  samples: TO_DRIVER_SAMPLES,
  kinds: Object.keys(TO_DRIVER),
  encode: encodeToDriver,
  decode: decodeToDriver,
};

/** Runs one check over both directions. */
function both(check: <M extends ToEngine | ToDriver>(direction: Direction<M>) => void): void {
  check(ENGINE);
  check(DRIVER);
}

/** The elements of a sample's frame, for tests that spoil one of them. */
function elementsOf(frame: Uint8Array): ValueType[] {
  return decode(frame) as ValueType[];
}

Deno.test("encodeToEngine() and encodeToDriver() number every kind once", () => {
  const numbers = [...Object.values(TO_ENGINE), ...Object.values(TO_DRIVER)].map(({ number }) =>
    number
  );
  assertEquals(new Set(numbers).size, numbers.length);
  both(({ samples, kinds }) => {
    assertEquals([...new Set(samples.map(({ kind }) => kind as string))].sort(), [...kinds].sort());
  });
});

Deno.test("decodeToEngine() and decodeToDriver() give back every message that was encoded", () => {
  both((direction) => {
    for (const message of direction.samples) {
      const frame = direction.encode(message);
      const decoded = direction.decode(frame);
      assertEquals(decoded, { ok: true, message });
      assert(decoded.ok);
      assertEquals(direction.encode(decoded.message), frame);
    }
  });
});

Deno.test("decodeToEngine() and decodeToDriver() work at any byte offset", () => {
  both((direction) => {
    for (const message of direction.samples) {
      const frame = direction.encode(message);
      for (const offset of [1, 3]) {
        const shifted = new Uint8Array(frame.length + offset);
        shifted.set(frame, offset);
        assertEquals(direction.decode(shifted.subarray(offset)), { ok: true, message });
      }
    }
  });
});

Deno.test("decodeToEngine() and decodeToDriver() refuse every truncation and a trailing byte", () => {
  both((direction) => {
    for (const message of direction.samples) {
      const frame = direction.encode(message);
      const step = frame.length > 4_096 ? 97 : 1;
      for (let length = 0; length < frame.length; length += step) {
        const decoded = direction.decode(frame.subarray(0, length));
        assertEquals(decoded, { ok: false, fault: Fault.Truncated }, `${message.kind} ${length}`);
      }
      const longer = new Uint8Array(frame.length + 1);
      longer.set(frame);
      assertEquals(direction.decode(longer), { ok: false, fault: Fault.Trailing });
    }
  });
});

Deno.test("decodeToEngine() and decodeToDriver() survive every single-bit flip, and take only canonical bytes", () => {
  let refused = 0;
  both((direction) => {
    for (const message of direction.samples) {
      const frame = direction.encode(message);
      for (let bit = 0; bit < Math.min(frame.length, 1_024) * 8; bit++) {
        const at = bit >>> 3;
        frame[at] = frame[at]! ^ (1 << (bit & 7));
        const decoded = direction.decode(frame);
        if (decoded.ok) assertEquals(direction.encode(decoded.message), frame);
        else refused += 1;
        frame[at] = frame[at]! ^ (1 << (bit & 7));
      }
    }
  });
  assert(refused > 1_000, `${refused} refused`);
});

Deno.test("decodeToEngine() and decodeToDriver() refuse a field of another type, and a missing or extra field", () => {
  const others: readonly ValueType[] = [null, true, "?", -1, 0.5, [], [[]], new Uint8Array(3)];
  both((direction) => {
    for (const message of direction.samples) {
      const elements = elementsOf(direction.encode(message));
      assert(!direction.decode(encode(elements.slice(0, -1))).ok);
      assertEquals(direction.decode(encode([...elements, 0])), {
        ok: false,
        fault: Fault.Trailing,
      });
      for (let i = 0; i < elements.length; i++) {
        for (const other of others) {
          const spoiled = [...elements];
          spoiled[i] = other;
          const bytes = encode(spoiled);
          const decoded = direction.decode(bytes);
          // Where the other value happens to be legal it must at least be what was sent.
          if (decoded.ok) assertEquals(direction.encode(decoded.message), bytes);
        }
      }
    }
  });
});

Deno.test("decodeToEngine() refuses kinds of the other direction, unknown kinds and values that are no message", () => {
  for (const message of TO_DRIVER_SAMPLES) {
    assertEquals(decodeToEngine(encodeToDriver(message)), { ok: false, fault: Fault.UnknownKind });
  }
  for (const message of TO_ENGINE_SAMPLES) {
    assertEquals(decodeToDriver(encodeToEngine(message)), { ok: false, fault: Fault.UnknownKind });
  }
  for (const value of [[], [0], [63], ["hello"], [null], 1, "x", null, [[1]]]) {
    assertEquals(decodeToEngine(encode(value)), { ok: false, fault: Fault.UnknownKind });
  }
});

/** A sample batch with some fields replaced on the link. */
function batchWith(change: (elements: ValueType[]) => void): Decoded<ToEngine> {
  const batch = TO_ENGINE_SAMPLES.find(({ kind }) => kind === "batch")!;
  const elements = elementsOf(encodeToEngine(batch));
  change(elements);
  return decodeToEngine(encode(elements));
}

const COMPONENTS = 5;
type Rows = ValueType[];

Deno.test("decodeToEngine() refuses batches whose lists do not fit each other", () => {
  assert(batchWith(() => {}).ok);
  const u32 = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
  const changes: [string, Fault, (elements: ValueType[]) => void][] = [
    ["fewer ids than spawns", Fault.OutOfRange, (e) => e[3] = u32(1)],
    ["fewer owners than spawns", Fault.OutOfRange, (e) => e[4] = u32()],
    ["null handle", Fault.OutOfRange, (e) => e[2] = u32(0x8000_0001, 0)],
    ["owner above 16 bits", Fault.OutOfRange, (e) => e[4] = u32(0, 0x1_0000)],
    ["half a word", Fault.Truncated, (e) => e[2] = new Uint8Array(7)],
    ["half a pair", Fault.Truncated, (e) => e[6] = u32(1)],
    ["component id 0", Fault.OutOfRange, (e) => e[6] = u32(1, 0)],
    ["epoch above 8 bits", Fault.OutOfRange, (e) => e[9] = u32(1, 1, 256)],
    ["fewer masks", Fault.OutOfRange, (e) => ((e[COMPONENTS] as Rows)[0] as Rows)[2] = u32()],
    [
      "mask of 32 bits",
      Fault.OutOfRange,
      (e) => ((e[COMPONENTS] as Rows)[0] as Rows)[2] = u32(0x8000_0000),
    ],
    ["no times", Fault.OutOfRange, (e) => ((e[COMPONENTS] as Rows)[0] as Rows)[4] = u32()],
    [
      "time below 0",
      Fault.OutOfRange,
      (e) => ((e[COMPONENTS] as Rows)[0] as Rows)[4] = new Uint8Array(Float64Array.of(-1).buffer),
    ],
    [
      "time not whole",
      Fault.OutOfRange,
      (e) => ((e[COMPONENTS] as Rows)[0] as Rows)[4] = new Uint8Array(Float64Array.of(0.5).buffer),
    ],
    [
      "time not a number",
      Fault.OutOfRange,
      (e) => ((e[COMPONENTS] as Rows)[0] as Rows)[4] = new Uint8Array(Float64Array.of(NaN).buffer),
    ],
    ["components out of order", Fault.NonCanonical, (e) => (e[COMPONENTS] as Rows).reverse()],
    [
      "a component twice",
      Fault.NonCanonical,
      (e) => (e[COMPONENTS] as Rows)[1] = (e[COMPONENTS] as Rows)[0]!,
    ],
    [
      "a component without rows",
      Fault.NonCanonical,
      (e) => (e[COMPONENTS] as Rows)[0] = [1, u32(), u32(), u32(), u32()],
    ],
    ["tick above 32 bits", Fault.OutOfRange, (e) => e[1] = 2 ** 32],
    ["a zone above 255", Fault.OutOfRange, (e) => e[10] = u32(1, 256)],
    ["a zone without its entity", Fault.OutOfRange, (e) => e[10] = u32(0, 1)],
    ["half a pair of entity and zone", Fault.Truncated, (e) => e[10] = u32(1, 1, 1)],
  ];
  for (const [name, fault, change] of changes) {
    assertEquals(batchWith(change), { ok: false, fault }, name);
  }
});

Deno.test("decodeToDriver() refuses handles and channels that an engine may not allot", () => {
  const spawn = encode([
    65,
    1,
    new Uint8Array([1, 0, 0, 0x80]),
    new Uint8Array(4),
    [],
    new Uint8Array(0),
    new Uint8Array(0),
    new Uint8Array(0),
  ]);
  assertEquals(decodeToDriver(spawn), { ok: false, fault: Fault.OutOfRange });
  assertEquals(decodeToDriver(encode([67, 0x8000_0000, 1, "", 0])), {
    ok: false,
    fault: Fault.OutOfRange,
  });
  assertEquals(decodeToEngine(encode([12, 1, 1, "", 0])), { ok: false, fault: Fault.OutOfRange });
});

Deno.test("decodeToEngine() refuses stats that are unsorted, repeated or badly named", () => {
  const bad: [ValueType[], Fault][] = [
    [["b", 1, "a", 1], Fault.NonCanonical],
    [["a", 1, "a", 1], Fault.NonCanonical],
    [["__proto__", 1], Fault.OutOfRange],
    [["a"], Fault.Truncated],
    [["a", "b"], Fault.UnknownKind],
  ];
  for (const [values, fault] of bad) {
    assertEquals(decodeToEngine(encode([18, values])), { ok: false, fault }, `${values}`);
  }
});

Deno.test("decodeToDriver() refuses an empty piece that does not end a message", () => {
  assertEquals(decodeToDriver(encode([68, 1, new Uint8Array(0), false])), {
    ok: false,
    fault: Fault.NonCanonical,
  });
});

Deno.test("clampText() cuts at whole characters, and drops what decoders would change", () => {
  assertEquals(clampText("short"), "short");
  assertEquals(clampText("éé", 3), "é");
  assertEquals(clampText("🙂🙂", 7), "🙂");
  assertEquals(clampText("\ufeffmarked"), "marked");
  const frame = encodeToDriver({ kind: "kick", peer: 1, reason: clampText("\ud800x".repeat(200)) });
  assert(decodeToDriver(frame).ok);
});
