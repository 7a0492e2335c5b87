// What is generated is up to date, and what is documented is true.

import { assertEquals } from "@std/assert";
import { parseManifest } from "../../permissions/manifest.ts";
import { REFERENCE_FILE, renderSchema, SCHEMA_FILE, withReference } from "../../tools/schema.ts";

function read(path: string): string {
  return Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
}

Deno.test("renderSchema() is what is published", () => {
  assertEquals(read(SCHEMA_FILE), renderSchema(), "run: deno run -A tools/schema.ts");
});

Deno.test("withReference() changes nothing in the documentation", () => {
  const text = read(REFERENCE_FILE);
  assertEquals(text, withReference(text), "run: deno run -A tools/schema.ts");
});

Deno.test("every whole manifest in the documentation is legal", () => {
  const blocks = [...read(REFERENCE_FILE).matchAll(/```jsonc\n([\s\S]*?)```/g)];
  // The others show a part of one.
  const whole = blocks.filter(([, text]) => /^ {2}"world": \{/m.test(text!));
  assertEquals(whole.length, 4);
  for (const [, text] of whole) parseManifest(text!, REFERENCE_FILE);
});
