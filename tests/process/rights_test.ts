// What the system itself knows of a running driver: its words, its environment, its open files. Nothing of it is taken from the driver.

import { assertEquals } from "@std/assert";
import { RUNTIME_VARIABLES, startCommand } from "../../driver/launcher.ts";
import { ProcessStage } from "../support/process_stage.ts";
import { ROOT } from "../support/run_program.ts";

/** Words of a start command with the machine's own paths taken out. */
function normalised(words: readonly string[]): string[] {
  return words.map((word) => word.replaceAll(ROOT, "<root>/"));
}

Deno.test("`startCommand()` of the server's example asks for these rights and no others", () => {
  assertEquals(normalised(startCommand(`${ROOT}examples/room_server.jsonc`).args), [
    "run",
    "--quiet",
    "--no-prompt",
    "--cached-only",
    "--frozen",
    "--config=<root>/deno.json",
    "--allow-read=<root>/examples/room_server.jsonc,<root>/examples/room_server.sock",
    "--allow-write=<root>/examples/room_server.sock",
    "--allow-net=unix:<root>/examples/room_server.sock,127.0.0.1:4433",
    "--deny-import",
    "<root>/mod.ts",
    "run",
    "--manifest",
    "<root>/examples/room_server.jsonc",
  ]);
});

Deno.test("`startCommand()` of the client's example asks for these rights and no others", () => {
  assertEquals(normalised(startCommand(`${ROOT}examples/room_client.jsonc`).args), [
    "run",
    "--quiet",
    "--no-prompt",
    "--cached-only",
    "--frozen",
    "--config=<root>/deno.json",
    "--allow-read=<root>/examples/room_client.jsonc,<root>/examples/room_client.sock",
    "--allow-write=<root>/examples/room_client.sock",
    "--allow-net=unix:<root>/examples/room_client.sock,127.0.0.1:4433",
    "--deny-import",
    "<root>/mod.ts",
    "run",
    "--manifest",
    "<root>/examples/room_client.jsonc",
  ]);
});

Deno.test("a running driver has exactly its start command's words and variables, and no file of ours open", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    const ann = await stage.client("ann", server.pin);
    for (const engine of [server, ann]) {
      const driver = engine.driver!;
      const { executable, args, env } = startCommand(engine.manifestFile);
      assertEquals(driver.words, [executable, ...args]);
      assertEquals(driver.environment, { ...env });
      const known: readonly string[] = RUNTIME_VARIABLES;
      assertEquals(Object.keys(driver.environment).filter((name) => !known.includes(name)), []);
      assertEquals(openFiles(driver.pid).filter((path) => path.startsWith(stage.folder)), []);
      assertEquals(openFiles(driver.pid).filter((path) => path.startsWith(ROOT)), []);
    }
  }));

/** What the descriptors of a process stand for: paths, or such as `socket:[123]`. */
function openFiles(pid: number): string[] {
  const files: string[] = [];
  for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
    try {
      files.push(Deno.readLinkSync(`/proc/${pid}/fd/${name}`));
    } catch {
      // Closed while we looked.
    }
  }
  return files;
}
