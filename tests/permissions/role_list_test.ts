import { assertEquals } from "@std/assert";
import { lineagesOf, namesRole, roleMask, wordFor } from "../../permissions/role_list.ts";

const role = (name: string, ...inherits: string[]) => ({ name, inherits });
const LINEAGES = lineagesOf([
  role("guest"),
  role("member", "guest"),
  role("judge", "member", "helper"),
  role("helper"),
]);

Deno.test("lineagesOf() lists a role's own name, then all it inherits from, near before far", () => {
  assertEquals([...LINEAGES], [
    ["guest", ["guest"]],
    ["member", ["member", "guest"]],
    ["judge", ["judge", "member", "helper", "guest"]],
    ["helper", ["helper"]],
  ]);
});

Deno.test("lineagesOf() ends, when roles inherit in a circle or from a name that is none", () => {
  const lineages = lineagesOf([role("a", "b"), role("b", "c", "nobody"), role("c", "a")]);
  assertEquals(lineages.get("a"), ["a", "b", "c", "nobody"]);
  assertEquals(lineages.get("c"), ["c", "a", "b", "nobody"]);
});

Deno.test("wordFor() finds the word that includes a role, its own name first", () => {
  assertEquals(wordFor(["guest", "member"], "member", LINEAGES), "member");
  assertEquals(wordFor(["guest"], "judge", LINEAGES), "guest");
  assertEquals(wordFor(["guest", "member"], "judge", LINEAGES), "member");
  assertEquals(wordFor(["guest", "all"], "judge", LINEAGES), "all");
  assertEquals(wordFor(["all"], "server", LINEAGES), "all");
  // Rights flow to those who inherit, never back.
  assertEquals(wordFor(["judge"], "member", LINEAGES), undefined);
  assertEquals(wordFor(["owner"], "judge", LINEAGES), undefined);
  assertEquals(namesRole(["guest"], "server", LINEAGES), false);
});

Deno.test("roleMask() has a bit for each role included, by its place", () => {
  assertEquals(roleMask(["guest"], LINEAGES), 0b0111);
  assertEquals(roleMask(["member"], LINEAGES), 0b0110);
  assertEquals(roleMask(["helper"], LINEAGES), 0b1100);
  assertEquals(roleMask(["all"], LINEAGES), 0b1111);
  assertEquals(roleMask(["server"], LINEAGES), 0);
  // The 31st role, the server included, is the highest bit that keeps a mask positive.
  const many = lineagesOf(Array.from({ length: 31 }, (_, at) => role(`r${at}`)));
  assertEquals(roleMask(["r30"], many), 2 ** 30);
});
