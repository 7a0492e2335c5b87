import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  findExcessRights,
  probesOutside,
  type RightQuestion,
} from "../../permissions/self_check.ts";
import { parsed, smallManifest } from "../support/manifest_samples.ts";

const PATHS = { manifestFile: "/srv/room/m.jsonc" };

Deno.test("findExcessRights() refuses each right without limits, by name", () => {
  const names = ["read", "write", "net", "env", "run", "ffi", "sys", "import"];
  for (const name of names) {
    const found = findExcessRights((q) =>
      q.name === name && Object.keys(q).length === 1 ? "granted" : "prompt"
    );
    assertEquals(found.length, 1, name);
    assertStringIncludes(found[0]!, name);
  }
  assertEquals(findExcessRights(() => "denied"), []);
  assertEquals(findExcessRights(() => "prompt"), []);
  assertEquals(findExcessRights(() => "granted").length, names.length);
});

Deno.test("findExcessRights() tells an unlimited right once, not with each of its probes", () => {
  const probes = probesOutside(parsed(smallManifest()), PATHS);
  const found = findExcessRights((q) => q.name === "read" ? "granted" : "prompt", probes);
  assertEquals(found.length, 1);
});

Deno.test("probesOutside() asks for nothing the manifest grants", () => {
  const value = smallManifest();
  value.host.listen = "127.0.0.1:80";
  value.host.engineSocket = "/tmp/engine.sock";
  value.host.certificate = { certFile: "cert.pem", keyFile: "/etc/hosts" };
  const probes = probesOutside(parsed(value), PATHS);
  const granted = (q: RightQuestion) => {
    switch (q.name) {
      case "read":
        return ["/srv/room/m.jsonc", "/srv/room/cert.pem", "/etc/hosts", "/tmp/engine.sock"]
          .includes(q.path ?? "");
      case "write":
        return q.path === "/tmp/engine.sock";
      case "net":
        return ["127.0.0.1:80", "unix:/tmp/engine.sock"].includes(q.host ?? "");
      default:
        return false;
    }
  };
  assertEquals(probes.filter(granted), []);
});

Deno.test("probesOutside() asks about neighbours of everything the manifest names", () => {
  const value = smallManifest();
  value.host.certificate = { certFile: "cert.pem", keyFile: "key.pem" };
  const probes = probesOutside(parsed(value), PATHS);
  const asks = (wanted: RightQuestion) =>
    assert(
      probes.some((one) => JSON.stringify(one) === JSON.stringify(wanted)),
      JSON.stringify(wanted),
    );
  for (const path of ["/", "/home", "/tmp", "/etc", "/srv", "/srv/room"]) {
    asks({ name: "read", path });
    asks({ name: "write", path });
  }
  asks({ name: "write", path: "/srv/room/key.pem" });
  asks({ name: "write", path: "/srv/room/m.jsonc" });
  for (const host of ["127.0.0.1", "127.0.0.1:4432", "127.0.0.1:4434", "example.com:443"]) {
    asks({ name: "net", host });
  }
  asks({ name: "net", host: "unix:/srv/room/engine.sock.other" });
});

Deno.test("probesOutside() asks around a network, and for nothing in it", () => {
  const value = smallManifest();
  value.host = {
    role: "client",
    engineSocket: "e.sock",
    connect: ["10.0.0.0/8:80", "192.168.0.0/24:4433", "192.168.0.9:4434"],
  };
  const hosts = probesOutside(parsed(value), PATHS)
    .flatMap((one) => one.name === "net" ? [one.host ?? ""] : []);
  const wanted = [
    "9.255.255.255:80",
    "11.0.0.0:80",
    "10.0.0.1",
    "10.0.0.1:81",
    "10.0.0.1:443",
    "192.167.255.255:4433",
    "192.168.1.0:4433",
    "192.168.0.1:4432",
    "192.168.0.1:80",
    "192.168.0.9:4435",
  ];
  for (const host of wanted) assert(hosts.includes(host), host);
  // Each of these is asked about on another manifest's behalf, and granted by this one.
  for (const host of ["10.0.0.1:80", "192.168.0.9:4433"]) assert(!hosts.includes(host), host);
});
