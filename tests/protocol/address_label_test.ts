import { assertEquals } from "@std/assert";
import { anonymiseAddress, networkOf } from "../../protocol/address_label.ts";

Deno.test("anonymiseAddress() leaves out the last part", () => {
  assertEquals(anonymiseAddress({ hostname: "203.0.113.9", port: 4 }), "203.0.113.*:4");
  assertEquals(anonymiseAddress({ hostname: "::ffff:203.0.113.9", port: 4 }), "203.0.113.*:4");
  assertEquals(anonymiseAddress({ hostname: "2001:db8:1:2:3:4:5:6", port: 4 }), "[2001:db8:1:*]:4");
});

Deno.test("networkOf() is the same for all ports and hosts of one network, and another for the next", () => {
  const network = (hostname: string, port: number) =>
    networkOf(anonymiseAddress({ hostname, port }));
  assertEquals(network("203.0.113.9", 4), network("203.0.113.250", 65_000));
  assertEquals(network("203.0.113.9", 4) === network("203.0.114.9", 4), false);
  assertEquals(network("2001:db8:1:2::5", 4), network("2001:db8:1:ffff::6", 5));
  assertEquals(network("2001:db8:1:2::5", 4) === network("2001:db8:2:2::5", 4), false);
  // A backend without addresses is one network.
  assertEquals(networkOf("simulated"), "simulated");
});
