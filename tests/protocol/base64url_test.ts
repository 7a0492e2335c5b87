import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { fromBase64Url, toBase64Url } from "../../protocol/base64url.ts";

Deno.test("`fromBase64Url()` gives back bytes, when `toBase64Url()` wrote them", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
    assertEquals(fromBase64Url(toBase64Url(bytes)), Uint8Array.from(bytes));
  }));
  assertEquals(toBase64Url(Uint8Array.of(0xfb, 0xff)), "-_8");
});

Deno.test("`fromBase64Url()` takes one text for each row of bytes, when texts are random", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9_\-+/= \n.]{0,12}$/), (text) => {
      const bytes = fromBase64Url(text);
      if (bytes !== undefined) assertEquals(toBase64Url(bytes), text);
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("`fromBase64Url()` refuses padding, spaces, another alphabet, left bits and odd lengths", () => {
  for (const text of ["AA==", "A A", "AA\n", "+/8", "AB", "A", "AAA=", "ä"]) {
    assertEquals(fromBase64Url(text), undefined, text);
  }
  assertEquals(fromBase64Url("AA"), Uint8Array.of(0));
});
