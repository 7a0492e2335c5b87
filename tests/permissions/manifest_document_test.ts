// The example manifests stand in docs/MANIFEST.md as they are in their files, and each is one that `check` takes.

import { assert, assertEquals } from "@std/assert";
import { compileGrants } from "../../permissions/compile.ts";
import { denoFlags } from "../../permissions/deno_flags.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { sha256 } from "../support/pair.ts";
import { ROOT } from "../support/run_program.ts";

const NAMES = ["private_room", "public_world", "relay"];

async function example(name: string): Promise<string> {
  return await Deno.readTextFile(`${ROOT}examples/manifests/${name}.jsonc`);
}

Deno.test("docs/MANIFEST.md quotes each example manifest letter by letter", async () => {
  const document = await Deno.readTextFile(`${ROOT}docs/MANIFEST.md`);
  const blocks = [...document.matchAll(/```jsonc\n([\s\S]*?)\n```/g)].map(([, block]) => block!);
  const files: string[] = [];
  for await (const { name } of Deno.readDir(`${ROOT}examples/manifests`)) files.push(name);
  assertEquals(files.sort(), NAMES.map((name) => `${name}.jsonc`));
  for (const name of NAMES) {
    const text = (await example(name)).trim();
    assert(blocks.includes(text), `${name}.jsonc is not quoted as it is: copy it once more`);
  }
});

Deno.test("each example manifest gives grants, and a start command that names its own places alone", async () => {
  for (const name of NAMES) {
    const file = `/etc/syncra/${name}.jsonc`;
    const manifest = parseManifest(await example(name), file);
    const grants = compileGrants(manifest, sha256);
    assertEquals(grants.worldName, manifest.world.name);
    const { args, env } = denoFlags(manifest, {
      manifestFile: file,
      configFile: "/opt/syncra/deno.json",
      moduleFile: "/opt/syncra/mod.ts",
    });
    const socket = manifest.host.engineSocket;
    assert(socket.startsWith("/run/syncra/"));
    const folder = "/etc/syncra";
    assertEquals(args.filter((arg) => arg.startsWith("--allow")), [
      `--allow-read=${file},${folder}/cert.pem,${folder}/key.pem,${socket}`,
      `--allow-write=${socket}`,
      `--allow-net=unix:${socket},0.0.0.0:4433`,
    ]);
    assertEquals(env, {});
  }
});
