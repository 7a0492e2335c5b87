import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  allowedEndpoint,
  coversEndpoint,
  defaultEndpoint,
  formatEndpoint,
  formatIpv4,
  parseEndpoint,
  parseIpv4,
  parseNetwork,
} from "../../permissions/endpoint.ts";

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

Deno.test("parseNetwork() takes an IPv4 network in CIDR notation with a port", () => {
  assertEquals(parseNetwork("10.1.0.0/16:4433"), {
    first: 0x0a01_0000,
    last: 0x0a01_ffff,
    prefix: 16,
    port: 4433,
  });
  assertEquals(parseNetwork("255.255.255.254/31:1")?.last, 0xffff_ffff);
  assertEquals(parseNetwork("10.0.0.0/8:65535")?.last, 0x0aff_ffff);
});

Deno.test("parseNetwork() refuses other spellings, too wide ones and what no flag can name", () => {
  const bad = [
    "10.1.0.0/16",
    "10.1.0.0/16:0",
    "10.1.0.0/16:65536",
    "10.1.0.0/16:04433",
    "10.1.0.0/016:4433",
    "10.1.0.1/16:4433",
    "10.1/16:4433",
    "010.1.0.0/16:4433",
    "10.1.0.256/24:4433",
    "0.0.0.0/0:4433",
    "10.0.0.0/7:4433",
    "10.1.2.3/32:4433",
    "10.1.0.0/255.255.0.0:4433",
    "[fd00::]/8:4433",
    "[fd00::/8]:4433",
    "example.org/16:4433",
    "10.1.0.0/16:4433 ",
    "10.1.2.3:4433",
    "",
  ];
  for (const text of bad) assertEquals(parseNetwork(text), undefined, text);
});

Deno.test("parseIpv4() and formatIpv4() undo each other, for every kind of number", () => {
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), (address) => {
      assertEquals(parseIpv4(formatIpv4(address)), address);
    }),
    { seed: 3, numRuns: 200 },
  );
  for (
    const text of ["1.2.3", "1.2.3.4.5", "1.2.3.", "1.2.3.x", "1.2.3.-4", "01.2.3.4", "1e1.2.3.4"]
  ) {
    assertEquals(parseIpv4(text), undefined, text);
  }
});

Deno.test("coversEndpoint() answers as arithmetic on prefixes does, at every edge of a network", () => {
  fc.assert(
    fc.property(
      fc.nat(0xffff_ffff),
      fc.integer({ min: 8, max: 31 }),
      fc.nat(0xffff_ffff),
      (base, prefix, any) => {
        const size = 2 ** (32 - prefix);
        const first = base - base % size;
        const network = `${formatIpv4(first)}/${prefix}:4433`;
        for (const address of [first - 1, first, first + size - 1, first + size, any]) {
          if (address < 0 || address > 0xffff_ffff) continue;
          const inside = Math.floor(address / size) === first / size;
          assertEquals(coversEndpoint(network, `${formatIpv4(address)}:4433`), inside);
          assertEquals(coversEndpoint(network, `${formatIpv4(address)}:4434`), false);
        }
      },
    ),
    { seed: 5, numRuns: 300 },
  );
});

Deno.test("coversEndpoint() compares networks with networks, and looks up no name", () => {
  assertEquals(coversEndpoint("10.0.0.0/8:1", "10.1.0.0/16:1"), true);
  assertEquals(coversEndpoint("10.0.0.0/8:1", "10.0.0.0/8:1"), true);
  assertEquals(coversEndpoint("10.1.0.0/16:1", "10.0.0.0/8:1"), false);
  assertEquals(coversEndpoint("10.0.0.0/16:1", "10.0.0.0/8:1"), false);
  assertEquals(coversEndpoint("10.0.0.0/8:1", "10.1.0.0/16:2"), false);
  for (
    const wanted of ["localhost:1", "[::ffff:10.1.2.3]:1", "010.1.2.3:1", "167837955:1", "10.1.2.3"]
  ) {
    assertEquals(coversEndpoint("10.0.0.0/8:1", wanted), false, wanted);
  }
  assertEquals(coversEndpoint("A.example:1", "a.EXAMPLE:1"), true);
  assertEquals(coversEndpoint("10.1.2.3:1", "10.0.0.0/8:1"), false);
});

Deno.test("allowedEndpoint() takes an address of a network at its port, and gives back the address", () => {
  const allowed = ["10.1.0.0/16:4433", "127.0.0.1:9"];
  assertEquals(allowedEndpoint("quic://10.1.200.3:4433", allowed), {
    host: "10.1.200.3",
    port: 4433,
  });
  const refused = [
    "quic://10.2.0.1:4433",
    "quic://10.1.200.3:9",
    "quic://10.1.0.0/16:4433",
    "quic://[::ffff:10.1.200.3]:4433",
    "quic://010.1.200.3:4433",
  ];
  for (const url of refused) assertEquals(allowedEndpoint(url, allowed), undefined, url);
});

Deno.test("defaultEndpoint() is the first single address", () => {
  assertEquals(defaultEndpoint(["10.1.0.0/16:4433", "h:1", "g:2"]), "h:1");
  assertEquals(defaultEndpoint(["10.1.0.0/16:4433"]), undefined);
});
