import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type DatagramHeader,
  isSameWorldEpoch,
  readHeader,
  readSections,
  SectionType,
  timeFromWire,
  writeHeader,
  writeSection,
} from "../../protocol/datagram.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  ACK_BLOCK_SPAN,
  MAX_ACK_RANGES,
  MAX_DATAGRAM_BYTES,
  MAX_DATAGRAM_SECTIONS,
  MAX_LISTED_ACK_RUNS,
} from "../../protocol/limits.ts";
import { Reader } from "../../protocol/reader.ts";
import { SUBTICKS, tickOf } from "../../protocol/timeline_units.ts";
import { Writer } from "../../protocol/writer.ts";
import { bitFlipsOf, joinBytes, truncationsOf } from "../support/hostile_bytes.ts";

function headerBytes(header: DatagramHeader): Uint8Array<ArrayBuffer> {
  const w = new Writer();
  writeHeader(w, header);
  return w.finish();
}

function sectionBytes(...sections: [SectionType, Uint8Array][]): Uint8Array<ArrayBuffer> {
  const w = new Writer();
  for (const [type, body] of sections) writeSection(w, type, body);
  return w.finish();
}

/** Run and gap lengths that end with a run and span at most 256. */
const ranges = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 255 }).map(
  (lengths) => {
    const kept: number[] = [];
    let span = 0;
    for (const length of lengths) {
      if (span + length > ACK_BLOCK_SPAN) break;
      kept.push(length);
      span += length;
    }
    if (kept.length % 2 === 0) kept.pop();
    return Uint16Array.from(kept);
  },
);

const dense = fc.integer({ min: 1, max: MAX_ACK_RANGES }).map((runs) =>
  new Uint16Array(runs * 2 - 1).fill(1)
);

const header: fc.Arbitrary<DatagramHeader> = fc.record({
  sequence: fc.nat(2 ** 40),
  worldEpoch: fc.nat(2 ** 31 - 1),
  time: fc.nat(2 ** 38 - 1),
  ack: fc.option(
    fc.record({
      largest: fc.nat(0xffff),
      delayUnits: fc.nat(0xffff),
      ranges: fc.oneof(ranges, dense),
    }),
    { nil: undefined },
  ),
});

Deno.test("`readHeader()` gives back what `writeHeader()` wrote, when headers are random", () => {
  fc.assert(fc.property(header, (h) => {
    const bytes = headerBytes(h);
    const r = new Reader(bytes);
    const raw = readHeader(r);
    assertEquals(r.finish(), undefined);
    assert(raw !== undefined);
    assertEquals(raw.sequence, h.sequence % 0x10000);
    assert(isSameWorldEpoch(raw.worldEpoch, h.worldEpoch));
    assertEquals(timeFromWire(raw.tick, raw.sub, tickOf(h.time) - 20_000), h.time);
    assertEquals(raw.ack, h.ack);
    assert(bytes.length <= 42);
  }));
});

Deno.test("`writeHeader()` is compact, when nothing or one run is acknowledged", () => {
  const base = { sequence: 1, worldEpoch: 1, time: 64_000 };
  const ack = (...lengths: number[]) => ({
    largest: 9,
    delayUnits: 1,
    ranges: Uint16Array.from(lengths),
  });
  assertEquals(headerBytes({ ...base, ack: undefined }).length, 6);
  assertEquals(headerBytes({ ...base, ack: ack(256) }).length, 11);
  assertEquals(headerBytes({ ...base, ack: ack(100, 1, 155) }).length, 13);
  assertEquals(headerBytes({ ...base, ack: ack(...new Array(255).fill(1)) }).length, 42);
});

Deno.test("`readHeader()` accepts exactly one encoding, when bytes are random or a bit is flipped", () => {
  const check = (bytes: Uint8Array) => {
    const r = new Reader(bytes);
    const raw = readHeader(r);
    if (raw === undefined) {
      assert(r.fault !== undefined);
      return;
    }
    const again = headerBytes({ ...raw, time: raw.tick * SUBTICKS + raw.sub });
    assertEquals([...again], [...bytes.subarray(0, r.bitPosition >>> 3)]);
  };
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), check), { numRuns: 2_000 });
  fc.assert(
    fc.property(header, (h) => {
      for (const flipped of bitFlipsOf(headerBytes(h))) check(flipped);
    }),
    { numRuns: 50 },
  );
});

Deno.test("`readHeader()` is truncated, when a header is cut anywhere", () => {
  fc.assert(fc.property(header, (h) => {
    for (const cut of truncationsOf(headerBytes(h))) {
      const r = new Reader(cut);
      assertEquals(readHeader(r), undefined);
      // A bitmap cut short reads as one with few runs, which is no legal bitmap either way.
      assert(r.fault === Fault.Truncated);
    }
  }));
});

Deno.test("`readHeader()` refuses a form nobody declared, when the bits say 3", () => {
  const bytes = headerBytes({ sequence: 1, worldEpoch: 0, time: 0, ack: undefined });
  bytes[0] = bytes[0]! | (3 << 3);
  const r = new Reader(joinBytes(bytes, new Uint8Array(60)));
  assertEquals(readHeader(r), undefined);
  assertEquals(r.fault, Fault.UnknownKind);
});

Deno.test("`readHeader()` refuses an acknowledgement, when it spans more than it may", () => {
  const w = new Writer();
  w.bits(0, 3);
  w.bits(1, 2);
  w.u16(1);
  w.u16(1);
  w.bits(0, 6);
  w.bits(1, 4);
  w.u16(500);
  w.u16(0);
  for (const length of [200, 50, 7]) w.u8(length - 1);
  const r = new Reader(w.finish());
  assertEquals(readHeader(r), undefined);
  assertEquals(r.fault, Fault.OutOfRange);
});

Deno.test("`readHeader()` refuses a bitmap, when a list would be shorter", () => {
  for (const runs of [MAX_LISTED_ACK_RUNS, MAX_LISTED_ACK_RUNS + 1]) {
    const w = new Writer();
    w.bits(0, 3);
    w.bits(2, 2);
    w.u16(1);
    w.u16(1);
    w.bits(0, 6);
    w.u16(500);
    w.u16(0);
    for (let i = 1; i < ACK_BLOCK_SPAN; i++) w.bool(i % 2 === 0 && i < runs * 2);
    const r = new Reader(w.finish());
    const raw = readHeader(r);
    if (runs === MAX_LISTED_ACK_RUNS) assertEquals(r.fault, Fault.NonCanonical);
    else assertEquals(raw?.ack?.ranges.length, runs * 2 - 1);
  }
});

Deno.test("`readHeader()` refuses a datagram, when it is longer than the limit", () => {
  const bytes = headerBytes({ sequence: 1, worldEpoch: 0, time: 0, ack: undefined });
  const r = new Reader(joinBytes(bytes, new Uint8Array(MAX_DATAGRAM_BYTES + 1 - bytes.length)));
  assertEquals(readHeader(r), undefined);
  assertEquals(r.fault, Fault.OutOfRange);
  assert(
    readHeader(new Reader(joinBytes(bytes, new Uint8Array(MAX_DATAGRAM_BYTES - bytes.length)))),
  );
});

Deno.test("`timeFromWire()` is negative, when the tick lies before the timeline's start", () => {
  assert(timeFromWire(0xffff, 0, 0) < 0);
  assertEquals(timeFromWire(0, 5, 0x1_0003), 0x1_0000 * SUBTICKS + 5);
});

Deno.test("`readSections()` gives back what `writeSection()` wrote, when all types are there", () => {
  const bytes = sectionBytes(
    [SectionType.Snapshot, Uint8Array.of(1, 2, 3)],
    [SectionType.Voice, new Uint8Array(1_275).fill(7)],
    [SectionType.Channel, Uint8Array.of(4)],
    [SectionType.Channel, Uint8Array.of(5, 6)],
  );
  const sections = readSections(new Reader(bytes));
  assert(sections !== undefined);
  assertEquals([...sections.snapshot!], [1, 2, 3]);
  assertEquals(sections.voice!.length, 1_275);
  assertEquals(sections.channels.map((body) => [...body]), [[4], [5, 6]]);
});

Deno.test("`readSections()` finds none, when the datagram ends after its header", () => {
  assertEquals(readSections(new Reader(new Uint8Array(0))), {
    snapshot: undefined,
    voice: undefined,
    channels: [],
  });
});

Deno.test("`readSections()` names the fault, when order, number, type or length is wrong", () => {
  const one = Uint8Array.of(1);
  const cases: [Uint8Array, Fault][] = [
    [sectionBytes([SectionType.Voice, one], [SectionType.Snapshot, one]), Fault.NonCanonical],
    [sectionBytes([SectionType.Snapshot, one], [SectionType.Snapshot, one]), Fault.NonCanonical],
    [sectionBytes([SectionType.Voice, one], [SectionType.Voice, one]), Fault.NonCanonical],
    [sectionBytes([4 as SectionType, one]), Fault.UnknownKind],
    [Uint8Array.of(0x10, 0x00, 9), Fault.UnknownKind],
    [Uint8Array.of(0x01, 0x00), Fault.NonCanonical],
    [Uint8Array.of(0x21, 0x00, 9), Fault.Truncated],
    [Uint8Array.of(0x11), Fault.Truncated],
  ];
  for (const [bytes, fault] of cases) {
    const r = new Reader(bytes);
    assertEquals(readSections(r), undefined);
    assertEquals(r.fault, fault, `${bytes}`);
  }
});

Deno.test("`readSections()` refuses a datagram, when it has one section too many", () => {
  const section: [SectionType, Uint8Array] = [SectionType.Channel, Uint8Array.of(1)];
  const full = new Array(MAX_DATAGRAM_SECTIONS).fill(section);
  assertEquals(readSections(new Reader(sectionBytes(...full)))?.channels.length, full.length);
  const r = new Reader(sectionBytes(...full, section));
  assertEquals(readSections(r), undefined);
  assertEquals(r.fault, Fault.OutOfRange);
});

Deno.test("`readSections()` gives the same bytes again, when random bytes are accepted", () => {
  const seen = { accepted: 0 };
  const plausible = fc.array(
    fc.tuple(fc.integer({ min: 0, max: 4 }), fc.uint8Array({ maxLength: 5 })),
    { maxLength: 5 },
  ).map((list) =>
    joinBytes(...list.flatMap(([type, body]) => [Uint8Array.of(type | body.length << 4, 0), body]))
  );
  fc.assert(
    fc.property(plausible, (bytes) => {
      const sections = readSections(new Reader(bytes));
      if (sections === undefined) return;
      seen.accepted += 1;
      const w = new Writer();
      if (sections.snapshot) writeSection(w, SectionType.Snapshot, sections.snapshot);
      if (sections.voice) writeSection(w, SectionType.Voice, sections.voice);
      for (const body of sections.channels) writeSection(w, SectionType.Channel, body);
      assertEquals([...w.finish()], [...bytes]);
    }),
    { numRuns: 1_000 },
  );
  assert(seen.accepted > 20);
});

Deno.test("`writeSection()` asserts, when a body is empty", () => {
  assertThrows(
    () => writeSection(new Writer(), SectionType.Voice, new Uint8Array(0)),
    Error,
    "never empty",
  );
});
