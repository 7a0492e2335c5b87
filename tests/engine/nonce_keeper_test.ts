import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { NonceKeeper } from "../../engine/nonce_keeper.ts";
import { MAX_USED_NONCES, NONCE_RECORD_BYTES } from "../../protocol/limits.ts";
import { encodeNonceRecord, UsedNonces } from "../../session/used_nonces.ts";

function record(number: number, forgetS: number): Uint8Array {
  const hash = new Uint8Array(16);
  new DataView(hash.buffer).setUint32(0, number);
  return encodeNonceRecord(hash, forgetS);
}

function numbersOf(records: Uint8Array): number[] {
  const view = new DataView(records.buffer, records.byteOffset, records.length);
  return Array.from(
    { length: records.length / NONCE_RECORD_BYTES },
    (_, i) => view.getUint32(i * NONCE_RECORD_BYTES),
  );
}

Deno.test("`NonceKeeper` gives back what it was given, each once", () => {
  const keeper = new NonceKeeper();
  keeper.add(Uint8Array.of(...record(1, 500), ...record(2, 400)));
  keeper.add(record(1, 500));
  assertEquals(keeper.records(), Uint8Array.of(...record(1, 500), ...record(2, 400)));
});

Deno.test("`NonceKeeper` drops those that end first, when there are too many", () => {
  const keeper = new NonceKeeper(undefined, 3);
  for (const [n, end] of [[1, 500], [2, 300], [3, 400], [4, 600], [5, 100]] as const) {
    keeper.add(record(n, end));
  }
  assertEquals(numbersOf(keeper.records()), [1, 3, 4]);
  assertEquals(keeper.size, 3);
});

Deno.test("`NonceKeeper` keeps what the engine saw itself, when a driver reports any number of others", () => {
  const keeper = new NonceKeeper(record(1, 100), 16);
  keeper.addProven(record(2, 50));
  for (let n = 3; n < 100; n++) keeper.add(record(n, 10_000));
  keeper.add(record(2, 1));
  const kept = numbersOf(keeper.records());
  assertEquals(kept.length, 16);
  assertEquals([kept.includes(1), kept.includes(2), keeper.size], [true, true, 16]);
  // Among those it saw, the ones that end first go first.
  for (let n = 200; n < 216; n++) keeper.addProven(record(n, 60));
  assertEquals(numbersOf(keeper.records()).filter((n) => n <= 2), [1]);
});

Deno.test("a driver that restores what a `NonceKeeper` kept knows all that the one before it knew", () => {
  const use = fc.record({ lifeS: fc.integer({ min: 1, max: 50 }), passS: fc.nat(15) });
  fc.assert(
    fc.property(fc.array(use, { maxLength: 60 }), (uses) => {
      const keeper = new NonceKeeper(undefined, 5);
      const first = new UsedNonces(5);
      const taken: [number, number][] = [];
      let nowS = 1_000;
      uses.forEach(({ lifeS, passS }, n) => {
        nowS += passS;
        const bytes = record(n, nowS + lifeS);
        if (first.use(bytes.slice(0, 16), nowS + lifeS, nowS) !== "ok") return;
        keeper.add(bytes);
        taken.push([n, nowS + lifeS]);
      });
      const next = new UsedNonces(5);
      assertEquals(next.restore(keeper.records(), nowS), undefined);
      for (const [n, forgetS] of taken) {
        if (forgetS <= nowS) continue;
        assertEquals(next.use(record(n, 0).slice(0, 16), forgetS, nowS), "used");
      }
    }),
    { seed: 11, numRuns: 300 },
  );
  assertEquals(MAX_USED_NONCES, 16_384);
});
