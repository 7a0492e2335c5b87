// Runs a benchmark as its users do and looks at its last line: all keys there, plausible, and explained to readers.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT, runCommand } from "./run_program.ts";

/** Figures by key, each with the least and the most that makes sense. */
export type Plausible = Readonly<Record<string, readonly [least: number, most: number]>>;

/** The figures of `deno task bench -- name ...args`, which must be those of `keys` and `name`, each between its bounds. */
export async function benchFigures(
  name: string,
  args: readonly string[],
  keys: Plausible,
): Promise<Record<string, number | string>> {
  const { code, out, err } = await runCommand(
    Deno.execPath(),
    ["run", "-A", "--quiet", `${ROOT}bench/main.ts`, name, ...args],
    { cwd: ROOT, env: { NO_COLOR: "1" } },
  );
  assertEquals(code, 0, `${err}\n${out}`);
  const figures = JSON.parse(out.trim().split("\n").at(-1)!) as Record<string, number | string>;
  assertEquals(figures["name"], name);
  assertEquals(Object.keys(figures).sort(), ["name", ...Object.keys(keys)].sort());
  const readme = await Deno.readTextFile(`${ROOT}bench/README.md`);
  for (const [key, [least, most]] of Object.entries(keys)) {
    const value = figures[key];
    assert(
      typeof value === "number" && value >= least && value <= most,
      `${key} is ${value}, outside ${least}..${most}\n${out}`,
    );
    assertStringIncludes(readme, `\`${key}\``);
  }
  return figures;
}
