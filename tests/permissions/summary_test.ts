import { assertEquals, assertStringIncludes } from "@std/assert";
import { summarize } from "../../permissions/summary.ts";
import { compiled, parsed, smallManifest } from "../support/manifest_samples.ts";

function lines(value: unknown): string[] {
  return summarize(parsed(value), compiled(value)).split("\n");
}

function line(all: readonly string[], start: RegExp): string {
  return (all.find((one) => start.test(one)) ?? "").replace(/ +/g, " ").trim();
}

Deno.test("summarize() says what may leave and come in, from and to whom", () => {
  const all = lines(smallManifest());
  assertStringIncludes(all[0]!, 'World "test"');
  assertStringIncludes(line(all, /^This host/), "listens on 127.0.0.1:4433");
  assertEquals(
    line(all, /Body +position +vec3/),
    "Body position vec3 -10..10 by 0.01 server, player, guest 40 m",
  );
  assertEquals(
    line(all, /Body +rotation +server/),
    "Body rotation server, player (own) 30 server, player (at most 2 each)",
  );
  assertEquals(
    line(all, /^ {2}Wave/),
    "Wave player server, player, guest 10 deliver after 500 ms both ways",
  );
  assertStringIncludes(line(all, /^Voice/), "within 25 m");
});

Deno.test("summarize() shows what the host takes away, and owners", () => {
  const value = smallManifest();
  value.world.components[0].fields.rotation.read = ["owner"];
  value.host.deny = {
    components: { Body: { send: ["position"], receive: ["rotation"] } },
    voice: { send: true },
  };
  const all = lines(value);
  assertStringIncludes(line(all, /Body +position +vec3/), "nobody: denied by this host");
  assertStringIncludes(line(all, /Body +rotation +quat/), "server, owner");
  assertStringIncludes(line(all, /Body +rotation +nobody/), "nobody: denied by this host");
  assertStringIncludes(line(all, /^Voice/), "in only");
});

Deno.test("summarize() of an empty world says so", () => {
  const value = smallManifest();
  value.world.components = [];
  value.world.events = [];
  value.world.channels = [];
  delete value.world.voice;
  value.host = { role: "loopback", engineSocket: "e.sock" };
  const text = lines(value).join("\n");
  for (
    const part of [
      "May leave this host: nothing",
      "May come in: nothing",
      "Voice: none",
      "network none",
    ]
  ) {
    assertStringIncludes(text, part);
  }
});

Deno.test("summarize() shows who sees into each zone from elsewhere, where there are any", () => {
  const value = smallManifest();
  assertEquals(lines(value).filter((one) => one.startsWith("Zones")), []);
  value.world.zones = [
    { id: 1, name: "room", seenBy: ["guest"] },
    { id: 2, name: "yard", closed: false },
  ];
  const all = lines(value);
  assertEquals(line(all, /^ {2}room/), "room 1 server, guest");
  assertEquals(line(all, /^ {2}yard/), "yard 2 everybody: it is open");
});

Deno.test("summarize() lists what a sealed driver may take instead, when the host names any", () => {
  const value = smallManifest();
  assertEquals(lines(value).filter((one) => one.includes("instead")), []);
  value.host.certificate = { certFile: "c.pem", keyFile: "k.pem" };
  value.host.overridable = { engineSocket: ["/run/b.sock", "/run/b.sock"], keyFile: ["k2.pem"] };
  const all = lines(value);
  const at = all.findIndex((one) => one === "A sealed driver may take instead");
  assertEquals(all.slice(at + 1, at + 5).map((one) => one.replace(/ +/g, " ").trim()), [
    "key path",
    "engineSocket /run/b.sock",
    "keyFile k2.pem",
    "",
  ]);
});
