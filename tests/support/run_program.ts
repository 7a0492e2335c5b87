// Runs the program as a shell would, in a process of its own, and gives back what it printed.

/** Path of the repository root, with a slash at the end. */
export const ROOT: string = new URL("../../", import.meta.url).pathname;

/** How a process ended. */
export interface Outcome {
  /** Exit code. */
  readonly code: number;
  /** Everything on standard output. */
  readonly out: string;
  /** Everything on standard error. */
  readonly err: string;
}

/** Runs any command and waits for its end. */
export async function runCommand(
  command: string,
  args: readonly string[],
  options: Deno.CommandOptions = {},
): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command(command, {
    ...options,
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Runs `mod.ts` with all rights and these words, in the repository's folder. */
export function runProgram(...args: string[]): Promise<Outcome> {
  return runCommand(Deno.execPath(), ["run", "-A", "--quiet", `${ROOT}mod.ts`, ...args], {
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  });
}

/** Makes an empty folder, gives its path to `use`, and removes it. */
export async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  // Unix socket paths end after about a hundred characters: a short prefix leaves room.
  const folder = await Deno.makeTempDir({ prefix: "syn" });
  try {
    return await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
