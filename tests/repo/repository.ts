// The files of this repository, for the tests that judge them all. Follows no link and skips what no one wrote here.

/** Path of the repository root, with a slash at the end. */
export const ROOT: string = new URL("../../", import.meta.url).pathname;

/** Folders that hold nothing written by hand. */
const SKIPPED = [".git", "node_modules", "coverage", "examples/data"];

/** Every file, relative to the root, sorted. */
export function repositoryFiles(): string[] {
  const found: string[] = [];
  function walk(folder: string): void {
    for (const entry of Deno.readDirSync(ROOT + folder)) {
      const path = folder + entry.name;
      if (SKIPPED.includes(path)) continue;
      if (entry.isDirectory) walk(`${path}/`);
      else if (entry.isFile) found.push(path);
    }
  }
  walk("");
  return found.sort();
}

/** The TypeScript files among them. */
export function sourceFiles(): string[] {
  return repositoryFiles().filter((path) => path.endsWith(".ts"));
}

/** Text of one file. */
export function readText(path: string): string {
  return Deno.readTextFileSync(ROOT + path);
}
