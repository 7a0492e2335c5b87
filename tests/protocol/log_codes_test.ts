import { assert, assertEquals } from "@std/assert";
import {
  levelNumber,
  levelOfCode,
  LOG_LEVELS,
  LogCode,
  logCodeName,
} from "../../protocol/log_codes.ts";
import { readText, sourceFiles } from "../repo/repository.ts";

Deno.test("`levelOfCode()` reads the level off the hundreds, when a code is known and when it is not", () => {
  for (const code of Object.values(LogCode)) {
    assertEquals(levelOfCode(code), LOG_LEVELS[Math.floor(code / 100) - 1]);
  }
  assertEquals([levelOfCode(199), levelOfCode(250), levelOfCode(399)], ["error", "warn", "info"]);
  assertEquals([levelOfCode(7), levelOfCode(499), levelOfCode(65_535)], [
    "debug",
    "debug",
    "debug",
  ]);
});

Deno.test("`levelNumber()` grows from errors to debug", () => {
  assertEquals(LOG_LEVELS.map(levelNumber), [0, 1, 2, 3]);
});

Deno.test("`logCodeName()` names every code once, and repeats a number that it does not know", () => {
  const codes = Object.values(LogCode);
  assertEquals(new Set(codes).size, codes.length);
  assertEquals(codes.map(logCodeName), Object.keys(LogCode));
  assertEquals(logCodeName(999), "code 999");
});

Deno.test("every log code is written somewhere in the driver", () => {
  const driver = sourceFiles().filter((path) => path.startsWith("driver/")).map(readText).join(
    "\n",
  );
  const unwritten = Object.keys(LogCode).filter((name) => {
    const use = new RegExp(`LogCode\\.${name}\\b`);
    return !use.test(driver);
  });
  assertEquals(unwritten, []);
  assert(/log\.write\(LogCode/.test(driver));
});
