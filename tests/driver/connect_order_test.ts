// Where a client may connect to: the engine's order against the manifest's endpoints, networks among them.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { connectOrderOf } from "../../driver/connect_order.ts";

const PIN = "ab".repeat(32);
const NETWORK = "10.1.0.0/16:4433";

function order(url: string, pin = PIN) {
  return { url, pin, credential: new Uint8Array(0) };
}

Deno.test("`connectOrderOf()` connects to the first single address, when the engine orders none", () => {
  const chosen = connectOrderOf(undefined, { endpoints: [NETWORK, "h:1", "g:2"], pin: PIN });
  assert(typeof chosen !== "string", String(chosen));
  assertEquals([chosen.url, chosen.pin], ["quic://h:1", PIN]);
});

Deno.test("`connectOrderOf()` says what to add, when there are only networks and the engine orders none", () => {
  const answer = connectOrderOf(undefined, { endpoints: [NETWORK], pin: PIN });
  assert(typeof answer === "string");
  assertStringIncludes(answer, "names no single address");
  assertStringIncludes(answer, NETWORK);
});

Deno.test("`connectOrderOf()` follows an order into a network, and none beside it", () => {
  const rights = { endpoints: [NETWORK], pin: "" };
  const chosen = connectOrderOf(order("quic://10.1.44.5:4433"), rights);
  assert(typeof chosen !== "string", String(chosen));
  assertEquals(chosen.url, "quic://10.1.44.5:4433");
  for (const url of ["quic://10.2.0.1:4433", "quic://10.1.44.5:4434", `quic://${NETWORK}`]) {
    const answer = connectOrderOf(order(url), rights);
    assert(typeof answer === "string", url);
    assertStringIncludes(answer, "does not name");
  }
});
