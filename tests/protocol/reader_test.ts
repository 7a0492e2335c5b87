import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Fault } from "../../protocol/faults.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";

type Step =
  | { kind: "bits"; count: number; value: number }
  | { kind: "varint"; value: number }
  | { kind: "bytes"; value: Uint8Array }
  | { kind: "align" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("bits" as const),
    count: fc.integer({ min: 0, max: 32 }),
    value: fc.integer({ min: 0, max: 0xffff_ffff }),
  }).map((s) => ({ ...s, value: s.count === 32 ? s.value : s.value % 2 ** s.count })),
  fc.record({
    kind: fc.constant("varint" as const),
    value: fc.integer({ min: 0, max: 0xffff_ffff }),
  }),
  fc.record({ kind: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 20 }) }),
  fc.constant({ kind: "align" as const }),
);

function write(w: Writer, s: Step): void {
  if (s.kind === "bits") w.bits(s.value, s.count);
  else if (s.kind === "varint") w.varint(s.value);
  else if (s.kind === "bytes") w.bytes(s.value);
  else w.align();
}

function readBack(r: Reader, s: Step): void {
  if (s.kind === "bits") assertEquals(r.bits(s.count), s.value);
  else if (s.kind === "varint") assertEquals(r.varint(), s.value);
  else if (s.kind === "bytes") assertEquals([...r.bytes(s.value.length)], [...s.value]);
  else r.align();
}

Deno.test("`Reader` gives back what `Writer` wrote, when values of all kinds stand at any bit offset", () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const w = new Writer(1);
    for (const s of steps) write(w, s);
    const r = new Reader(w.finish());
    for (const s of steps) readBack(r, s);
    assertEquals(r.finish(), undefined);
  }));
});

Deno.test("`Reader` never reads past its end, when the bytes are cut anywhere", () => {
  fc.assert(fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), fc.nat(), (steps, at) => {
    const w = new Writer();
    for (const s of steps) write(w, s);
    const whole = w.finish();
    fc.pre(whole.length > 0);
    // The bytes behind the end are there, and must not matter.
    const end = at % whole.length;
    const r = new Reader(whole, 0, end);
    for (const s of steps) {
      if (s.kind === "bits") r.bits(s.count);
      else if (s.kind === "varint") r.varint();
      else if (s.kind === "bytes") r.bytes(s.value.length);
      else r.align();
      assert(r.bitPosition <= end * 8);
    }
    assertEquals(r.finish(), Fault.Truncated);
  }));
});

Deno.test("`Reader.varint()` refuses longer encodings, when a shorter one exists", () => {
  for (
    const bytes of [[0x80, 0x00], [0xff, 0x00], [0x80, 0x80, 0x00], [0x80, 0x80, 0x80, 0x80, 0x00]]
  ) {
    const r = new Reader(Uint8Array.from(bytes));
    assertEquals(r.varint(), 0);
    assertEquals(r.fault, Fault.NonCanonical, `${bytes}`);
  }
});

Deno.test("`Reader.varint()` refuses what does not fit 32 bits, when five bytes say more", () => {
  const most = new Reader(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f));
  assertEquals(most.varint(), 0xffff_ffff);
  assertEquals(most.finish(), undefined);
  const more = new Reader(Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x10));
  assertEquals(more.varint(), 0);
  assertEquals(more.fault, Fault.OutOfRange);
  const longer = new Reader(Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x01));
  assertEquals(longer.varint(), 0);
  assertEquals(longer.fault, Fault.NonCanonical);
});

Deno.test("`Reader.varintAtMost()` takes the limit and refuses one more, when it is asked", () => {
  const w = new Writer();
  w.varint(300);
  assertEquals(new Reader(w.finish()).varintAtMost(300), 300);
  const r = new Reader(w.finish());
  assertEquals(r.varintAtMost(299), 0);
  assertEquals(r.fault, Fault.OutOfRange);
});

Deno.test("`Reader` keeps its first fault and reads zeros, when more goes wrong afterwards", () => {
  const r = new Reader(Uint8Array.of(0xff, 0xff));
  r.fail(Fault.UnknownKind);
  assertEquals([r.u8(), r.u16(), r.varint(), r.bytes(1).length], [0, 0, 0, 0]);
  r.fail(Fault.Truncated);
  assertEquals(r.finish(), Fault.UnknownKind);
});

Deno.test("`Reader.finish()` refuses leftovers, when padding is set or bytes are left", () => {
  const padded = new Reader(Uint8Array.of(0b0001_0001));
  padded.bits(4);
  assertEquals(padded.finish(), Fault.NonCanonical);
  const trailing = new Reader(Uint8Array.of(1, 2));
  trailing.u8();
  assertEquals(trailing.finish(), Fault.Trailing);
});

Deno.test("`Reader.bytes()` gives no view beyond its end, when a hostile count is asked", () => {
  for (const count of [5, 2 ** 20, 2 ** 29, 0xffff_ffff]) {
    const r = new Reader(Uint8Array.of(1, 2, 3, 4));
    assertEquals(r.bytes(count).length, 0);
    assertEquals(r.fault, Fault.Truncated);
  }
});

Deno.test("`Writer.truncate()` forgets all later bits, when writing goes on over them", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 10 }),
      fc.array(step, { maxLength: 10 }),
      fc.array(step, { maxLength: 10 }),
      (kept, dropped, after) => {
        const w = new Writer(4);
        for (const s of kept) write(w, s);
        const mark = w.bitLength;
        for (const s of dropped) write(w, s);
        w.truncate(mark);
        for (const s of after) write(w, s);
        const plain = new Writer();
        for (const s of [...kept, ...after]) write(plain, s);
        assertEquals([...w.finish()], [...plain.finish()]);
        assertEquals([...w.view()], [...plain.view()]);
      },
    ),
  );
});

Deno.test("`Writer.copyBits()` appends exactly the bits asked for, when source and target are misaligned", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 12 }),
      fc.nat(95),
      fc.nat(95),
      fc.nat(7),
      (source, a, b, shift) => {
        const size = source.length * 8;
        const from = Math.min(a % size, b % size);
        const count = Math.max(a % size, b % size) - from;
        const w = new Writer(1);
        w.bits(0x55, shift);
        w.copyBits(source, from, count);
        assertEquals(w.bitLength, shift + count);
        const r = new Reader(w.finish());
        r.bits(shift);
        for (let i = 0; i < count; i++) {
          const at = from + i;
          assertEquals(r.bits(1), (source[at >>> 3]! >>> (at & 7)) & 1);
        }
      },
    ),
  );
});

Deno.test("`Writer` asserts, when our own code asks for what cannot be", () => {
  assertThrows(() => new Writer().bits(0, 33), Error, "broken invariant");
  assertThrows(() => new Writer().truncate(1), Error, "broken invariant");
});
