// The runtime's own stores on disk ask for no right: what a driver's start takes away, what a worker still has, and that a plain file in
// the place of their folder closes them for good, as docs/SECURITY.md advises.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Outcome, runCommand, withFolder } from "../support/run_program.ts";

const STORE = `const cache = await caches.open("escape");
await cache.put("http://x/y", new Response("kept"));`;

const PROGRAM = `
try { localStorage.setItem("x", "kept"); console.log("localStorage"); } catch (e) { console.log(e.name); }
try { ${STORE} console.log("caches"); } catch (e) { console.log(e.name); }
const code = ${
  JSON.stringify(`try { ${STORE} postMessage("worker") } catch (e) { postMessage(e.name) }`)
};
const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
worker.onmessage = (event) => { console.log(event.data); Deno.exit(0); };`;

/** Runs the program without a single right, with `cacheFolder` as the runtime's own. */
function runIn(cacheFolder: string, file: string): Promise<Outcome> {
  return runCommand(Deno.execPath(), ["run", "--quiet", "--no-prompt", "--no-config", file], {
    clearEnv: true,
    env: { DENO_DIR: cacheFolder, NO_COLOR: "1" },
  });
}

Deno.test("a plain file named location_data closes every store of the runtime, workers' included", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/program.mjs`;
    await Deno.writeTextFile(file, PROGRAM);
    for (const name of ["open", "closed"]) await Deno.mkdir(`${folder}/${name}`);
    await Deno.writeTextFile(`${folder}/closed/location_data`, "");

    // Without it the runtime writes to disk for a program that holds no right at all.
    const open = await runIn(`${folder}/open`, file);
    assertEquals(open.out.trim().split("\n"), ["localStorage", "caches", "worker"], open.err);
    assert((await Deno.stat(`${folder}/open/location_data`)).isDirectory);

    const closed = await runIn(`${folder}/closed`, file);
    const said = closed.out.trim().split("\n");
    assertEquals(said.length, 3, closed.err);
    for (const one of ["localStorage", "caches", "worker"]) assert(!said.includes(one), one);
    assertEquals((await Deno.stat(`${folder}/closed/location_data`)).size, 0);
  });
});

Deno.test("docs/SECURITY.md tells operators how the stores are closed", async () => {
  const text = await Deno.readTextFile(new URL("../../docs/SECURITY.md", import.meta.url));
  assertStringIncludes(text, "location_data");
});
