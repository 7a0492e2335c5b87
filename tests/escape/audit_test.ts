// What the drivers of a whole demo run used of their rights, by the runtime's own notes, against the list that is kept beside this file.

import { assert, assertEquals, assertGreater, assertGreaterOrEqual } from "@std/assert";
import { ExitCode } from "../../driver/exit_codes.ts";
import { ROOT, runCommand, withFolder } from "../support/run_program.ts";

const GOLDEN = Deno.readTextFileSync(`${ROOT}tests/escape/golden_audit.txt`)
  .split("\n").filter((line) => line !== "" && !line.startsWith("#"));

/** One note of the runtime. */
interface Note {
  readonly permission: string;
  readonly value: string | null;
}

/** Each right used, once, in the order of first use; folder, name and port replaced, which differ from run to run. */
function normalise(driver: string, text: string): string[] {
  const role = driver.startsWith("server") ? "server" : "client";
  const lines = text.trimEnd().split("\n").map((line) => {
    const { permission, value } = JSON.parse(line) as Note;
    const place = (value ?? "everything")
      .replace(/\/[^:]*\/syncra-[^/]+/, "<folder>")
      .replace(`/${driver}.`, "/<driver>.")
      .replace(/^127\.0\.0\.1:\d+$/, "127.0.0.1:<port>");
    return `${role} ${permission} ${place}`;
  });
  return [...new Set(lines)];
}

Deno.test("the drivers of a whole demo use the rights on the golden list and no others", async () => {
  await withFolder(async (folder) => {
    const { code, out, err } = await runCommand(Deno.execPath(), [
      "run",
      "-A",
      "--quiet",
      `--config=${ROOT}deno.json`,
      `${ROOT}tests/escape/audited_demo.ts`,
      folder,
    ]);
    // The verdict is judged elsewhere: it may depend on how busy this machine is. That the demo ran to its end is what counts here.
    assert(code === ExitCode.Ok || code === ExitCode.DemoFailed, `${code}\n${out}\n${err}`);
    const drivers = [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
    assertGreaterOrEqual(drivers.length, 3);
    for (const file of drivers) {
      const driver = file.replace(/ \S+$/, "");
      const used = normalise(driver, Deno.readTextFileSync(`${folder}/${file}`));
      const role = driver.startsWith("server") ? "server" : "client";
      const golden = GOLDEN.filter((line) => line.startsWith(`${role} `));
      assertGreater(golden.length, 3);
      assertEquals(used, golden, driver);
    }
  });
});

Deno.test("a right that is not on the golden list is seen, when a driver uses it", () => {
  const used = normalise("server", '{"v":1,"permission":"read","value":"/etc/passwd"}\n');
  assertEquals(used, ["server read /etc/passwd"]);
  assert(!GOLDEN.includes(used[0]!));
});
