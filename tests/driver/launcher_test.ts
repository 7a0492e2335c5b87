// The launcher's environment, quoting and signals. What a started driver does is tested with real drivers elsewhere.

import { assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import {
  type LaunchedDriver,
  quote,
  runtimeEnvironment,
  shellLine,
  waitForDriver,
} from "../../driver/launcher.ts";
import { ROOT, runCommand } from "../support/run_program.ts";

function environmentOf(variables: Record<string, string>, home?: string): Record<string, string> {
  return runtimeEnvironment((name) => variables[name], home);
}

Deno.test("`runtimeEnvironment()` is empty, when the user's home and cache are where the system says", () => {
  const usual = { HOME: "/var/lib/room", PATH: "/bin", SECRET: "x", AWS_KEY: "y", DENO_DIR: "" };
  assertEquals(environmentOf(usual, "/var/lib/room"), {});
});

Deno.test("`runtimeEnvironment()` passes only what finds the module cache, when it is elsewhere", () => {
  assertEquals(
    environmentOf(
      { HOME: "/a", DENO_DIR: "/cache", DENO_AUTH_TOKENS: "secret", NO_COLOR: "1" },
      "/b",
    ),
    { DENO_DIR: "/cache", HOME: "/a" },
  );
  assertEquals(environmentOf({ XDG_CACHE_HOME: "/c" }, "/b"), { XDG_CACHE_HOME: "/c" });
});

Deno.test("`quote()` survives a POSIX shell, when words hold anything but zero bytes", async () => {
  const words = fc.sample(fc.string({ unit: "binary", maxLength: 12 }), { seed: 11, numRuns: 200 })
    .map((word) => word.replaceAll(/[\0\n\ud800-\udfff]/g, ""));
  words.push("a'b", "$HOME", "`id`", "", "a b", "--x=y", "~", "*", "!!");
  const script = words.map((word) => `printf '%s\\n' ${quote(word)}`).join("\n");
  const { out } = await runCommand("sh", ["-c", script]);
  assertEquals(out.split("\n").slice(0, -1), words);
});

Deno.test("`shellLine()` begins with an empty environment, when variables are listed", () => {
  const line = shellLine({ executable: "/opt/deno", args: ["run", "a b.ts"], env: { X: "1 2" } });
  assertEquals(line, "env -i X='1 2' /opt/deno run 'a b.ts'");
});

/** A stand-in for a driver, running a small program. */
function standIn(program: string): LaunchedDriver {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", program],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  return { process, command: { executable: Deno.execPath(), args: [], env: {} } };
}

Deno.test("`waitForDriver()` returns the exit code, when the driver ends by itself", async () => {
  const driver = standIn("Deno.exit(7)");
  assertEquals(await waitForDriver(driver), 7);
  await driver.process.stdout.cancel();
});

Deno.test("`waitForDriver()` returns 128 and the signal's number, when the driver is killed", async () => {
  const driver = standIn("setInterval(() => {}, 1000)");
  driver.process.kill("SIGKILL");
  assertEquals(await waitForDriver(driver), 137);
  await driver.process.stdout.cancel();
});

Deno.test("`waitForDriver()` hands SIGTERM on, when the launcher is asked to end", async () => {
  const program = `
    import { waitForDriver } from "${ROOT}driver/launcher.ts";
    const child = 'Deno.addSignalListener("SIGTERM", () => { console.log("asked"); Deno.exit(5); });' +
      'setInterval(() => {}, 1000); console.log("ready");';
    const process = new Deno.Command(Deno.execPath(), { args: ["eval", child] }).spawn();
    Deno.exit(await waitForDriver({ process, command: { executable: "", args: [], env: {} } }));`;
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/launch.ts`, program);
    const launcher = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", `--config=${ROOT}deno.json`, `${folder}/launch.ts`],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    let said = "";
    for await (const text of launcher.stdout.pipeThrough(new TextDecoderStream())) {
      said += text;
      if (said === "ready\n") launcher.kill("SIGTERM");
    }
    assertStringIncludes(said, "asked");
    assertEquals((await launcher.status).code, 5);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
