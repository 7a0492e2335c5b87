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
  const keeper = new NonceKeeper(3);
  for (const [n, end] of [[1, 500], [2, 300], [3, 400], [4, 600], [5, 100]] as const) {
    keeper.add(record(n, end));
  }
  assertEquals(numbersOf(keeper.records()), [1, 3, 4]);
  assertEquals(keeper.size, 3);
});

Deno.test("a driver that restores what a `NonceKeeper` kept knows all that the one before it knew", () => {
  const use = fc.record({ lifeS: fc.integer({ min: 1, max: 50 }), passS: fc.nat(15) });
  fc.assert(
    fc.property(fc.array(use, { maxLength: 60 }), (uses) => {
      const keeper = new NonceKeeper(5);
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
