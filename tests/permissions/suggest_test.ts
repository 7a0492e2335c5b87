import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { editDistance, nearest, suggest } from "../../permissions/suggest.ts";

Deno.test("editDistance() counts inserts, removals, changes and swaps", () => {
  for (
    const [a, b, distance] of [
      ["", "", 0],
      ["", "abc", 3],
      ["abc", "abc", 0],
      ["abc", "abd", 1],
      ["abc", "ab", 1],
      ["abc", "acb", 1],
      ["kitten", "sitting", 3],
    ] as const
  ) assertEquals(editDistance(a, b), distance, `${a} ${b}`);
});

Deno.test("editDistance() is the same both ways and at most the longer length", () => {
  const word = fc.string({ maxLength: 12 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      assertEquals(distance, editDistance(b, a));
      assertEquals(distance === 0, a === b);
      assertEquals(distance <= Math.max(a.length, b.length), true);
    }),
    { seed: 7, numRuns: 300 },
  );
});

Deno.test("nearest() finds what was meant and nothing far away", () => {
  const known = ["precision", "min", "max"];
  assertEquals(nearest("presicion", known), "precision");
  assertEquals(nearest("Precision", known), "precision");
  assertEquals(nearest("prec", known), "precision");
  assertEquals(nearest("colour", known), undefined);
  assertEquals(nearest("x", ["y"]), undefined);
  assertEquals(nearest("p".repeat(100_000), known), undefined);
});

Deno.test("suggest() lists the known names where none is near", () => {
  assertEquals(suggest("colour", ["min", "max"]), '; known are "min", "max"');
  assertEquals(suggest("colour", []), "; none is declared");
});
