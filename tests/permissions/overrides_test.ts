import { assertEquals, assertThrows } from "@std/assert";
import { denoFlags } from "../../permissions/deno_flags.ts";
import { ManifestError } from "../../permissions/manifest_error.ts";
import { alternativesOf, applyOverrides } from "../../permissions/overrides.ts";
import { sealedFlags } from "../../permissions/sealed_flags.ts";
import { type Loose, parsed, smallManifest } from "../support/manifest_samples.ts";

const FILE = "/srv/room/m.jsonc";

function withHost(host: Loose): ReturnType<typeof parsed> {
  const value = smallManifest();
  value.host = {
    role: "server",
    engineSocket: "/srv/room/engine.sock",
    listen: "127.0.0.1:4433",
    certificate: { certFile: "cert.pem", keyFile: "key.pem" },
    ...host,
  };
  return parsed(value);
}

const LISTED = {
  engineSocket: ["b.sock", "/run/c.sock", "b.sock"],
  certFile: ["next/cert.pem"],
  keyFile: ["next/key.pem"],
};

Deno.test("alternativesOf() gives each listed path once, absolute", () => {
  assertEquals(alternativesOf(withHost({ overridable: LISTED }), FILE), [
    { key: "engineSocket", path: "/srv/room/b.sock" },
    { key: "engineSocket", path: "/run/c.sock" },
    { key: "certFile", path: "/srv/room/next/cert.pem" },
    { key: "keyFile", path: "/srv/room/next/key.pem" },
  ]);
  assertEquals(alternativesOf(withHost({}), FILE), []);
});

Deno.test("alternativesOf() refuses what no flag and no socket can be", () => {
  const long = "x".repeat(120);
  assertThrows(
    () => alternativesOf(withHost({ overridable: { engineSocket: [`/${long}`] } }), FILE),
    ManifestError,
    "bytes",
  );
  assertThrows(
    () => withHost({ overridable: { engineSocket: ["/a,b"] } }),
    ManifestError,
    "comma",
  );
});

Deno.test("applyOverrides() puts a listed path in place and leaves everything else", () => {
  const manifest = withHost({ overridable: LISTED });
  const chosen = applyOverrides(manifest, FILE, {
    engineSocket: "b.sock",
    keyFile: "/srv/room/next/../next/key.pem",
  });
  assertEquals(chosen, {
    ...manifest,
    host: {
      ...manifest.host,
      engineSocket: "/srv/room/b.sock",
      certificate: { certFile: "cert.pem", keyFile: "/srv/room/next/key.pem" },
    },
  });
  assertEquals(applyOverrides(manifest, FILE, {}), manifest);
  assertEquals(applyOverrides(manifest, FILE, { certFile: "cert.pem" }), manifest);
});

Deno.test("applyOverrides() refuses every path that is not listed for that key", () => {
  const manifest = withHost({ overridable: LISTED });
  const refused: [string, string][] = [
    ["engineSocket", "/srv/room/d.sock"],
    ["engineSocket", "../room/b.sock.other"],
    ["engineSocket", "next/cert.pem"],
    ["certFile", "next/key.pem"],
    ["keyFile", "/etc/passwd"],
    ["caFile", "ca.pem"],
  ];
  for (const [key, path] of refused) {
    assertThrows(
      () => applyOverrides(manifest, FILE, { [key]: path }),
      ManifestError,
      "does not list",
    );
  }
  assertThrows(
    () => applyOverrides(withHost({}), FILE, { engineSocket: "b.sock" }),
    ManifestError,
    "/srv/room/engine.sock",
  );
});

Deno.test("parseManifest() refuses alternatives for what the host does not name, and too many", () => {
  const refuse = (host: Loose, part: string) =>
    assertThrows(() => withHost(host), ManifestError, part);
  refuse({ overridable: { caFile: ["ca.pem"] } }, "names no caFile");
  refuse(
    { certificate: { mode: "development" }, overridable: { certFile: ["c.pem"] } },
    "names no certFile",
  );
  const many = Array.from({ length: 9 }, (_, i) => `${i}.pem`);
  refuse({ overridable: { certFile: many, keyFile: many } }, "lists 18 paths");
  refuse({ overridable: { engineSocket: [] } }, "engineSocket");
  refuse({ overridable: { listen: ["127.0.0.1:1"] } }, "listen");
});

Deno.test("sealedFlags() are the flags of the start command without the manifest's file", () => {
  for (const host of [{}, { limits: { heapMb: 256 } }]) {
    const manifest = withHost(host);
    const started = denoFlags(manifest, {
      manifestFile: FILE,
      configFile: "/app/deno.json",
      moduleFile: "/app/mod.ts",
    }).args.filter((one) => /^--(allow|deny|v8|no-prompt)/.test(one))
      .map((one) => one.replace(`=${FILE},`, "="));
    assertEquals(sealedFlags(manifest, FILE), started);
  }
});

Deno.test("sealedFlags() name the listed paths and nothing more", () => {
  assertEquals(sealedFlags(withHost({ overridable: LISTED }), FILE), [
    "--no-prompt",
    "--allow-read=/srv/room/cert.pem,/srv/room/key.pem,/srv/room/b.sock,/run/c.sock," +
    "/srv/room/next/cert.pem,/srv/room/next/key.pem,/srv/room/engine.sock",
    "--allow-write=/srv/room/engine.sock,/srv/room/b.sock,/run/c.sock",
    "--allow-net=unix:/srv/room/engine.sock,unix:/srv/room/b.sock,unix:/run/c.sock,127.0.0.1:4433",
    "--deny-import",
  ]);
});

Deno.test("the start command of a driver that is not sealed ignores alternatives", () => {
  const paths = { manifestFile: FILE, configFile: "/app/deno.json", moduleFile: "/app/mod.ts" };
  assertEquals(
    denoFlags(withHost({ overridable: LISTED }), paths),
    denoFlags(withHost({}), paths),
  );
});
