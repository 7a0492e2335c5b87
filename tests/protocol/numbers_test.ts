import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { entityGeneration, entitySlot, makeEntityId, NO_ENTITY } from "../../protocol/entity_id.ts";
import { Fault, faultName } from "../../protocol/faults.ts";
import { CloseCode, closeCodeName } from "../../protocol/close_codes.ts";
import { fnv1a, fnv1aWord, FNV_OFFSET } from "../../protocol/fnv.ts";
import { SEQUENCE_HALF, unwrap16 } from "../../protocol/sequence.ts";
import { SUBTICKS, tickOf } from "../../protocol/timeline_units.ts";
import { decodeUtf8, encodeUtf8 } from "../../protocol/utf8.ts";

Deno.test("`makeEntityId()` keeps slot and generation apart, when both are at any value", () => {
  fc.assert(fc.property(fc.nat(0xfffff), fc.nat(0xfff), (slot, generation) => {
    const id = makeEntityId(slot, generation);
    assert(id >= 0 && id <= 0xffff_ffff);
    assertEquals([entitySlot(id), entityGeneration(id)], [slot, generation]);
  }));
  assertEquals(makeEntityId(0, 0), NO_ENTITY);
  assertEquals(makeEntityId(7, 4_096), makeEntityId(7, 0));
});

Deno.test("`unwrap16()` finds the whole number, when it lies within half the ring of the newest", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: SEQUENCE_HALF, max: 2 ** 45 }),
      fc.integer({ min: -SEQUENCE_HALF, max: SEQUENCE_HALF - 1 }),
      (newest, delta) => {
        const whole = newest + delta;
        assertEquals(unwrap16(whole % 0x10000, newest), whole);
      },
    ),
  );
});

Deno.test("`unwrap16()` starts at 0, when nothing is known yet", () => {
  assertEquals(unwrap16(0, -1), 0);
  assertEquals(unwrap16(5, -1), 5);
  assertEquals(unwrap16(0xffff, -1), -1);
  assertEquals(unwrap16(0xfffe, 3), -2);
});

Deno.test("`tickOf()` rounds down, when a time lies inside a tick", () => {
  assertEquals(tickOf(0), 0);
  assertEquals(tickOf(SUBTICKS - 1), 0);
  assertEquals(tickOf(2 ** 38 - 1), 2 ** 32 - 1);
});

Deno.test("`faultName()` names every fault differently, when codes are looked up", () => {
  const names = Object.values(Fault).map(faultName);
  assertEquals(new Set(names).size, names.length);
  assertEquals(faultName(Fault.Replayed), "Replayed");
  assertEquals(faultName(999), "fault 999");
});

Deno.test("`closeCodeName()` keeps faults and ends apart, when codes are looked up", () => {
  const codes = [...Object.values(CloseCode), ...Object.values(Fault)];
  assertEquals(new Set(codes).size, codes.length);
  assertEquals(closeCodeName(CloseCode.Kicked), "Kicked");
  assertEquals(closeCodeName(Fault.Flood), "Flood");
});

Deno.test("`fnv1a()` gives the published values, when the test vectors are hashed", () => {
  const hash = (text: string) => fnv1a(new TextEncoder().encode(text));
  assertEquals(hash(""), 0x811c9dc5);
  assertEquals(hash("a"), 0xe40c292c);
  assertEquals(hash("foobar"), 0xbf9cf968);
});

Deno.test("`fnv1aWord()` equals `fnv1a()` over four bytes, when words of any sign are hashed", () => {
  fc.assert(fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }), (word) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, word, true);
    assertEquals(fnv1aWord(word, FNV_OFFSET), fnv1a(bytes));
    assertEquals(fnv1aWord(word, 0x9e3779b9), fnv1a(bytes, 0x9e3779b9));
  }));
});

Deno.test("`encodeUtf8()` cuts between characters, when a text is longer than allowed", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.nat(20), (text, maxBytes) => {
    const bytes = encodeUtf8(text, maxBytes);
    assert(bytes.length <= maxBytes);
    const kept = decodeUtf8(bytes);
    assert(kept !== undefined && text.startsWith(kept));
  }));
  assertEquals(decodeUtf8(encodeUtf8("aé", 2)), "a");
});

Deno.test("`decodeUtf8()` accepts one encoding of each text, when bytes are hostile", () => {
  for (
    const bytes of [[0xc0, 0x80], [0xff], [0xed, 0xa0, 0x80], [0xe2, 0x82], [
      0xf4,
      0x90,
      0x80,
      0x80,
    ]]
  ) {
    assertEquals(decodeUtf8(Uint8Array.from(bytes)), undefined, `${bytes}`);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
    const text = decodeUtf8(bytes);
    if (text !== undefined) assertEquals([...encodeUtf8(text, 100)], [...bytes]);
  }));
  // A byte order mark is a character like any other.
  assertEquals(decodeUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "\ufeffa");
});

Deno.test("docs/PROTOCOL.md lists every fault and close code, when both tables are compared", async () => {
  const text = await Deno.readTextFile(new URL("../../docs/PROTOCOL.md", import.meta.url));
  const chapter = text.slice(text.indexOf("## 8. Faults"));
  const listed = [...chapter.matchAll(/^\| (\d+) +\| (\w+)/gm)].map(([, code, name]) =>
    `${Number(code)} ${name}`
  );
  const declared = [...Object.entries(CloseCode), ...Object.entries(Fault)]
    .sort(([, a], [, b]) => a - b).map(([name, code]) => `${code} ${name}`);
  assertEquals(listed, declared);
});
