// A driver whose process really runs short of memory: it sheds the peer that holds most, then ends by itself, with a code, before the bound.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ExitCode } from "../../driver/exit_codes.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { ProcessStage } from "../support/process_stage.ts";
import { ROOT } from "../support/run_program.ts";

const MEMORY_MB = 448;

/** A small room, so that its worst case is below the bound. */
function small(value: Loose): void {
  value.world.maxPeers = 4;
  value.world.maxEntities = 64;
  value.world.maxEntitiesPerPeer = 4;
  value.world.channels = [];
  for (const component of value.world.components) {
    if (component.spawn?.maxPerPeer > 4) component.spawn.maxPerPeer = 4;
  }
}

/** Main memory of a process, MB; 0 once it has ended. */
function residentMb(pid: number): number {
  try {
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

Deno.test("a driver that runs short of memory sheds its largest peer, then ends with code 14 before the bound", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server", (value) => {
      small(value);
      value.host.limits = { ...value.host.limits, memoryMb: MEMORY_MB };
      delete value.host.limits.heapMb;
    });
    const server = await stage.engine("server", file);
    const signal = `${stage.folder}/begin`;
    const process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "-q",
        `--config=${ROOT}deno.json`,
        `${ROOT}tests/support/hungry_driver.ts`,
        file,
        signal,
      ],
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const ended = process.output();
    let mostMb = 0;
    const watch = setInterval(() => mostMb = Math.max(mostMb, residentMb(process.pid)), 20);
    try {
      await stage.until("the driver listens", () => server.joins.length > 0);
      const ann = await stage.client("ann", server.pin, small);
      const bob = await stage.client("bob", server.pin, small);
      // Both are told of it, but it is Ann's link that has received it, too.
      assert(ann.link.spawn({ Avatar: { body: [1, 0, 0] }, Name: { text: "Ann" } }) !== 0);
      await stage.until("bob sees her", () => bob.world.size === 1);
      assertEquals(ann.lefts, []);
      await Deno.writeTextFile(signal, "");
      await stage.until("the largest peer is shed", () => ann.lefts.length > 0);
      assertEquals(ann.lefts[0]!.code, CloseCode.Shed);
      assertEquals(ann.lefts[0]!.final, false);
      // Her connection is lost and nothing else: she takes her place again, and what she had in the world.
      await stage.until("she is back", () => ann.joins.length > 1);
      assertEquals(ann.joins[1]!.resumed, true);
      assertEquals(ann.joins[1]!.peer, ann.joins[0]!.peer);
      assertEquals(server.gone, []);
      assertEquals(bob.world.size, 1);
      const { code, stderr } = await ended;
      const said = new TextDecoder().decode(stderr);
      assertEquals(code, ExitCode.Memory, said);
      assertStringIncludes(said, `may take ${MEMORY_MB} MB`);
      assertStringIncludes(said, "host.limits.memoryMb");
      assert(mostMb > 0.8 * MEMORY_MB && mostMb < MEMORY_MB, `${mostMb} MB at most`);
    } finally {
      clearInterval(watch);
      if (residentMb(process.pid) > 0) process.kill("SIGKILL");
      await ended;
    }
    await stage.until("the engine has lost its driver", () => server.lost.length > 0);
    assertStringIncludes(server.lost[0]!, "out of memory");
  }));

Deno.test("a driver whose world may need more memory than its manifest allows does not start, and says what needs it", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server", (value) => {
      value.host.limits = { ...value.host.limits, memoryMb: 256 };
    });
    await stage.engine("server", file);
    const driver = stage.launch(file);
    assertEquals(await driver.ended, ExitCode.Manifest);
    assertStringIncludes(driver.err, "host.limits.memoryMb allows 256");
    assertStringIncludes(driver.err, "channels: windows of open ones");
    assertStringIncludes(driver.err, "smaller with less channels, maxPeers");
  }));
