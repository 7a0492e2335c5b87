import { assertEquals } from "@std/assert";
import { allowedEndpoint, formatEndpoint, parseEndpoint } from "../../permissions/endpoint.ts";

Deno.test("parseEndpoint() takes one host and port", () => {
  assertEquals(parseEndpoint("127.0.0.1:4433"), { host: "127.0.0.1", port: 4433 });
  assertEquals(parseEndpoint("[::1]:0"), { host: "::1", port: 0 });
  assertEquals(parseEndpoint("play.example.org:65535"), { host: "play.example.org", port: 65_535 });
  for (const text of ["127.0.0.1:4433", "[fe80::1]:9", "a-b.c:1"]) {
    assertEquals(formatEndpoint(parseEndpoint(text)!), text);
  }
});

Deno.test("parseEndpoint() refuses everything else", () => {
  const bad = [
    "",
    "host",
    ":1",
    "host:",
    "host:x",
    "host:65536",
    "host:-1",
    "*:1",
    "*.example:1",
    "::1:1",
    "[host]:1",
    "a,b:1",
    "a b:1",
    "unix:/x:1",
    "http://h:1",
    "h:1/",
    "h:1 ",
    "10.0.0.0/8:1",
    "-a:1",
  ];
  for (const text of bad) assertEquals(parseEndpoint(text), undefined, text);
});

Deno.test("allowedEndpoint() takes only what the manifest names, port and all", () => {
  const allowed = ["127.0.0.1:4433", "Play.example.org:9", "[::1]:7"];
  assertEquals(allowedEndpoint("quic://127.0.0.1:4433", allowed)?.port, 4433);
  assertEquals(allowedEndpoint("quic://play.EXAMPLE.org:9/", allowed)?.port, 9);
  assertEquals(allowedEndpoint("quic://[::1]:7", allowed)?.host, "::1");
  const refused = [
    "quic://127.0.0.1:4434",
    "quic://127.0.0.1",
    "127.0.0.1:4433",
    "https://127.0.0.1:4433",
    "quic://user@127.0.0.1:4433",
    "quic://127.0.0.1:4433/path",
    "quic://127.0.0.1:4433?x",
    "quic://evil.example:9",
    "quic://127.0.0.1:04433x",
    "",
  ];
  for (const url of refused) assertEquals(allowedEndpoint(url, allowed), undefined, url);
  assertEquals(allowedEndpoint("quic://h:0", ["h:0"]), undefined);
});
