// `launch` as a process: what it hands on to the driver it starts, and what it does not.

import { assert, assertEquals } from "@std/assert";
import { startCommand } from "../../driver/launcher.ts";
import { environmentOf } from "../support/driver_process.ts";
import { ProcessStage, type StageEngine } from "../support/process_stage.ts";
import { ROOT } from "../support/run_program.ts";

/** Variables that change what a runtime does or where secrets go, and secrets. */
const TEMPTATIONS = {
  OTEL_DENO: "true",
  OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:9",
  NODE_OPTIONS: "--trace-warnings",
  DENO_AUTH_TOKENS: "secret@example.com",
  DENO_TLS_CA_STORE: "system",
  DENO_V8_FLAGS: "--expose-gc",
  AWS_SECRET_ACCESS_KEY: "secret",
  LD_BIND_NOW: "1",
} as const;

/** A `launch` that runs. */
class Launcher {
  readonly process: Deno.ChildProcess;
  /** Everything it and its driver say on standard error. */
  readonly said: Promise<string>;

  constructor(manifestFile: string, env: Record<string, string>) {
    this.process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", `${ROOT}mod.ts`, "launch", "--manifest", manifestFile],
      env,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.said = new Response(this.process.stderr).text();
  }

  /** Waits until the driver's engine hears that it listens; fails with what was said if it never will. */
  async listening(stage: ProcessStage, server: StageEngine): Promise<void> {
    let hasEnded = false;
    this.process.status.then(() => hasEnded = true);
    await stage.until("the driver listens", async () => {
      if (hasEnded) throw new Error(`it ended: ${await this.said}`);
      return server.joins.length > 0;
    });
  }

  /** Process id of the driver. */
  get driver(): number {
    const { pid } = this.process;
    for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
      const children = Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`).trim();
      if (children !== "") return Number(children.split(" ")[0]);
    }
    return 0;
  }

  /** Ends both, if they still run. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      const { driver } = this;
      if (driver !== 0) Deno.kill(driver, "SIGKILL");
      this.process.kill("SIGKILL");
    } catch {
      // They have ended.
    }
    await this.process.status;
    await this.said;
  }
}

Deno.test("`launch` hands nothing of its own environment on to the driver", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.engine("server", stage.manifest("server", "server"));
    const files = {
      SSLKEYLOGFILE: `${stage.folder}/tls.keys`,
      DENO_AUDIT_PERMISSIONS: `${stage.folder}/audit.jsonl`,
    };
    await using launcher = new Launcher(server.manifestFile, { ...TEMPTATIONS, ...files });
    await launcher.listening(stage, server);
    await stage.client("ann", server.pin);
    const { executable, args, env } = startCommand(server.manifestFile);
    const { driver } = launcher;
    const words = Deno.readTextFileSync(`/proc/${driver}/cmdline`).split("\0").slice(0, -1);
    assertEquals(words, [executable, ...args]);
    assertEquals(environmentOf(driver), { ...env });
    // The launcher itself has them: so this test would see them in the driver.
    assertEquals(environmentOf(launcher.process.pid).AWS_SECRET_ACCESS_KEY, "secret");
    // The launcher's own runtime opens the log that its variable names; the driver, which has keys to tell, does not know of it.
    assertEquals(Deno.readTextFileSync(files.SSLKEYLOGFILE), "");
  }));

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  Deno.test(`\`launch\` lets its driver say goodbye and ends with its code 0, on ${signal}`, () =>
    ProcessStage.play(async (stage) => {
      const server = await stage.engine("server", stage.manifest("server", "server"));
      await using launcher = new Launcher(server.manifestFile, {});
      await launcher.listening(stage, server);
      const ann = await stage.client("ann", server.pin);
      const { driver } = launcher;
      assert(driver !== 0);
      launcher.process.kill(signal);
      assertEquals((await launcher.process.status).code, 0);
      assertEquals(await launcher.said, "");
      await stage.until("all were told", () => server.lost.length > 0 && ann.lefts.length > 0);
      assertEquals(server.lost, ["the driver said goodbye: asked to stop"]);
      assertEquals(ann.lefts[0]!.reason, "asked to stop");
      assert(!isAlive(driver), "the driver has ended before its launcher");
    }));
}

function isAlive(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}`);
    return true;
  } catch {
    return false;
  }
}
