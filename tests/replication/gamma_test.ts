import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Fault } from "../../protocol/faults.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";
import {
  bitsFor,
  foldSigned,
  gammaBits,
  readGamma,
  unfoldSigned,
  writeGamma,
} from "../../replication/gamma.ts";

Deno.test("`readGamma()` reads what `writeGamma()` wrote, in the bits that `gammaBits()` says", () => {
  const sizes = fc.integer({ min: 1, max: 0xffff_ffff });
  fc.assert(fc.property(fc.array(sizes, { minLength: 1 }), (values) => {
    const writer = new Writer();
    let bits = 0;
    for (const value of values) {
      writeGamma(writer, value);
      bits += gammaBits(value);
    }
    assertEquals(writer.bitLength, bits);
    const reader = new Reader(writer.finish());
    for (const value of values) assertEquals(readGamma(reader), value);
    assertEquals(reader.finish(), undefined);
  }));
});

Deno.test("`readGamma()` has a value for every row of bits: there is no second encoding", () => {
  for (let row = 0; row < 2 ** 12; row++) {
    const reader = new Reader(Uint8Array.of(row & 0xff, row >>> 8, 0, 0, 0));
    const value = readGamma(reader);
    const writer = new Writer();
    writeGamma(writer, value);
    const used = reader.bitPosition;
    assertEquals(writer.bitLength, used);
    const again = new Reader(writer.finish());
    for (let bit = 0; bit < Math.min(used, 12); bit++) {
      assertEquals(again.bits(1), (row >>> bit) & 1, `row ${row}`);
    }
  }
});

Deno.test("`readGamma()` keeps to the end of the bytes", () => {
  const reader = new Reader(Uint8Array.of(0xff));
  assertEquals(readGamma(reader), 1);
  assertEquals(reader.fault, Fault.Truncated);
});

Deno.test("`unfoldSigned()` is the inverse of `foldSigned()` beyond 32 bits", () => {
  for (const value of [0, -1, 1, -2, 2 ** 31 - 2, -(2 ** 31) + 2]) {
    assertEquals(unfoldSigned(foldSigned(value)), value);
  }
  assertEquals([0, -1, 1, -2, 2].map(foldSigned), [0, 1, 2, 3, 4]);
});

Deno.test("`bitsFor()` counts the bits of the largest value", () => {
  assertEquals([0, 1, 2, 3, 4, 255, 256, 0xffff_ffff].map(bitsFor), [0, 1, 2, 2, 3, 8, 9, 32]);
});
