// The script that continuous integration runs, with a stand-in for the test runner: its last line and exit code must tell the truth.

import { assertEquals } from "@std/assert";
import { ROOT } from "./repository.ts";

/** Runs `.ci/run` with an `npx` that prints `output` and ends with `code`. */
async function runWith(output: string, code: number): Promise<{ code: number; last: string }> {
  const folder = await Deno.makeTempDir();
  try {
    const script =
      `#!/bin/sh\necho "$@" > "${folder}/args"\ncat <<'END'\n${output}\nEND\nexit ${code}\n`;
    await Deno.writeTextFile(`${folder}/npx`, script, { mode: 0o755 });
    const { code: got, stdout } = await new Deno.Command("bash", {
      args: [`${ROOT}.ci/run`],
      env: { PATH: `${folder}:${Deno.env.get("PATH")}` },
    }).output();
    assertEquals((await Deno.readTextFile(`${folder}/args`)).trim(), "--yes deno@2.9.6 task test");
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
    return { code: got, last: lines.at(-1)! };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("`.ci/run` reports the counts, when all tests passed", async () => {
  assertEquals(await runWith("x ... ok (1ms)\n\nok | 12 passed | 0 failed (3s)\n", 0), {
    code: 0,
    last: "12 passed, 0 failed",
  });
});

Deno.test("`.ci/run` reads past colours, steps and ignored tests, when the summary has them", async () => {
  const summary = "\x1b[32mok\x1b[0m | 340 passed (27 steps) | 0 failed | 2 ignored (1m3s)";
  assertEquals(await runWith(summary, 0), { code: 0, last: "340 passed, 0 failed" });
});

Deno.test("`.ci/run` fails, when a test failed", async () => {
  assertEquals(await runWith("FAILED | 11 passed | 7 failed (3s)\n\nerror: Test failed", 1), {
    code: 1,
    last: "11 passed, 7 failed",
  });
});

Deno.test("`.ci/run` fails, when the runner says ok and yet ends badly", async () => {
  assertEquals(await runWith("ok | 3 passed | 0 failed (3s)", 9), {
    code: 1,
    last: "3 passed, 1 failed",
  });
});

Deno.test("`.ci/run` fails, when no summary is printed", async () => {
  assertEquals(await runWith("error: Module not found", 0), {
    code: 1,
    last: "0 passed, 1 failed",
  });
});
