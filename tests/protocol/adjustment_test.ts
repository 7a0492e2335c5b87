// Adjustments on both protocols: what was written is read, and nothing else is.

import { assertEquals } from "@std/assert";
import {
  ADJUSTMENT_WORDS,
  adjustmentFault,
  type ComponentAdjustment,
  isNoAdjustment,
  packAdjustments,
  packedAdjustmentsFault,
  readAdjustments,
  unpackAdjustments,
  writeAdjustments,
} from "../../protocol/adjustment.ts";
import { Fault } from "../../protocol/faults.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";

function one(componentId: number, ...masks: number[]): ComponentAdjustment {
  const [readGranted = 0, readRevoked = 0, writeGranted = 0, writeRevoked = 0] = masks;
  return { componentId, readGranted, readRevoked, writeGranted, writeRevoked };
}

const GOOD = [one(1, 1, 2, 4, 8), one(300, 0, 0x7fff_ffff), one(16_383, 0, 0, 0x4000_0000)];

function read(all: readonly ComponentAdjustment[]): readonly ComponentAdjustment[] | Fault {
  const w = new Writer(64);
  writeAdjustments(w, all);
  const r = new Reader(w.finish());
  const result = readAdjustments(r);
  return r.finish() ?? result;
}

Deno.test("`readAdjustments()` reads what `writeAdjustments()` wrote, and packed words alike", () => {
  for (const all of [[], GOOD.slice(1), GOOD]) {
    assertEquals(read(all), all);
    const words = packAdjustments(all);
    assertEquals(words.length, all.length * ADJUSTMENT_WORDS);
    assertEquals(packedAdjustmentsFault(words), undefined);
    assertEquals(unpackAdjustments(words), all);
  }
});

Deno.test("`readAdjustments()` and `packedAdjustmentsFault()` refuse what has another form", () => {
  const bad: [readonly ComponentAdjustment[], Fault][] = [
    [[GOOD[1]!, GOOD[0]!], Fault.NonCanonical],
    [[GOOD[0]!, GOOD[0]!], Fault.NonCanonical],
    [[GOOD[0]!, one(7)], Fault.NonCanonical],
    [[one(7, 3, 2)], Fault.NonCanonical],
    [[one(7, 0, 0, 8, 24)], Fault.NonCanonical],
  ];
  for (const [all, fault] of bad) {
    assertEquals(read(all), fault);
    assertEquals(packedAdjustmentsFault(packAdjustments(all)), fault);
  }
  assertEquals(read([one(0, 1)]), Fault.OutOfRange);
  assertEquals(read([one(7, 0x8000_0000)]), Fault.OutOfRange);
  assertEquals(adjustmentFault(one(7, 1, 2, 1, 2)), undefined);
  assertEquals([isNoAdjustment(one(7)), isNoAdjustment(one(7, 0, 0, 0, 1))], [true, false]);
});
