import { assertEquals, assertThrows } from "@std/assert";
import { ManifestError } from "../../permissions/manifest_error.ts";
import { folderOf, hostPaths, resolvePath } from "../../permissions/paths.ts";
import { parsed, smallManifest } from "../support/manifest_samples.ts";

Deno.test("resolvePath() joins and straightens", () => {
  assertEquals(resolvePath("/a/b", "c"), "/a/b/c");
  assertEquals(resolvePath("/a/b", "./c//d/"), "/a/b/c/d");
  assertEquals(resolvePath("/a/b", "../c"), "/a/c");
  assertEquals(resolvePath("/a", "../../../c"), "/c");
  assertEquals(resolvePath("/a/b", "/x/./y"), "/x/y");
  assertEquals(resolvePath("/", "e.sock"), "/e.sock");
});

Deno.test("folderOf() goes up to the root and stays", () => {
  assertEquals(folderOf("/a/b"), "/a");
  assertEquals(folderOf("/a"), "/");
  assertEquals(folderOf("/"), "/");
});

Deno.test("hostPaths() resolves every file from the manifest's folder", () => {
  const value = smallManifest();
  value.host.certificate = { certFile: "../keys/cert.pem", keyFile: "/keys/key.pem" };
  assertEquals(hostPaths(parsed(value).host, "/srv/room/m.jsonc"), {
    folder: "/srv/room",
    engineSocket: "/srv/room/engine.sock",
    certFile: "/srv/keys/cert.pem",
    keyFile: "/keys/key.pem",
    caFile: undefined,
  });
});

Deno.test("hostPaths() refuses what cannot be granted or used", () => {
  const { host } = parsed(smallManifest());
  assertThrows(() => hostPaths(host, "/a,b/m.jsonc"), ManifestError, "comma");
  assertThrows(() => hostPaths(host, `/${"a".repeat(100)}/m.jsonc`), ManifestError, "103");
});
