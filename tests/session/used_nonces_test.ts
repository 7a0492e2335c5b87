import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Fault } from "../../protocol/faults.ts";
import { encodeNonceRecord, UsedNonces } from "../../session/used_nonces.ts";

function hash(number: number): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

Deno.test("`UsedNonces` takes a nonce once, when it comes again", () => {
  const used = new UsedNonces();
  assertEquals(used.isUsed(hash(1), 500), false);
  assertEquals(used.use(hash(1), 500, 100), "ok");
  assertEquals(used.use(hash(1), 500, 101), "used");
  assertEquals(used.use(hash(1), 600, 101), "used");
  assertEquals(used.use(hash(2), 500, 101), "ok");
  assertEquals(used.size, 2);
});

Deno.test("`UsedNonces` forgets nothing that could come again, when it is full", () => {
  const used = new UsedNonces(3);
  for (const n of [1, 2, 3]) assertEquals(used.use(hash(n), 200 + n, 100), "ok");
  assertEquals(used.use(hash(4), 300, 200), "full");
  assertEquals(used.use(hash(1), 201, 200), "used");
  assertEquals(used.use(hash(4), 300, 201), "ok", "the first has ended");
  assertEquals(used.size, 3);
});

Deno.test("`UsedNonces` takes what may have been forgotten for used, when the clock goes back", () => {
  const used = new UsedNonces(2);
  used.use(hash(1), 200, 100);
  assertEquals(used.use(hash(2), 400, 300), "ok");
  assertEquals(used.size, 1);
  assertEquals(used.use(hash(1), 200, 150), "used");
  assertEquals(used.use(hash(3), 199, 150), "used");
  assertEquals(used.use(hash(3), 201, 150), "ok");
});

Deno.test("`UsedNonces` still refuses, when another one restores its records", () => {
  const used = new UsedNonces();
  const records = [1, 2, 3].flatMap((n) => [...encodeNonceRecord(hash(n), 200 + 100 * n)]);
  assertEquals(used.restore(Uint8Array.from(records), 350), undefined);
  assertEquals(used.size, 2, "the first had ended");
  assertEquals(used.use(hash(2), 400, 350), "used");
  assertEquals(used.use(hash(3), 500, 350), "used");
});

Deno.test("`UsedNonces` refuses records, when they are cut or too many", () => {
  const used = new UsedNonces(2);
  assertEquals(used.restore(new Uint8Array(19), 0), Fault.Truncated);
  assertEquals(used.restore(new Uint8Array(60), 0), Fault.OutOfRange);
  assertEquals(used.size, 0);
});

Deno.test("`UsedNonces` takes no nonce twice before its end, when uses are random and time goes on", () => {
  const step = fc.record({
    n: fc.nat(12),
    lifeS: fc.integer({ min: 1, max: 60 }),
    passS: fc.nat(20),
  });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 120 }),
      fc.integer({ min: 1, max: 8 }),
      (steps, max) => {
        const used = new UsedNonces(max);
        const ends = new Map<number, number>();
        let nowS = 1_000;
        for (const { n, lifeS, passS } of steps) {
          nowS += passS;
          // A token's end does not change from one show to the next.
          const forgetS = ends.get(n) ?? nowS + lifeS;
          if (forgetS <= nowS) continue;
          const outcome = used.use(hash(n), forgetS, nowS);
          if (ends.has(n)) assertEquals(outcome, "used");
          else if (outcome === "ok") ends.set(n, forgetS);
          else assertEquals(outcome, "full");
          assert(used.size <= max);
        }
      },
    ),
    { seed: 3, numRuns: 400 },
  );
});
