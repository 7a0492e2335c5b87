// A driver in a place of its own: empty home, working and temporary folders, a module cache that only it writes to. All that it prints is
// kept, and all that it leaves on a disk can be listed.

import { startCommand } from "../../driver/launcher.ts";
import { PATIENCE_MS } from "./process_stage.ts";

/** Folders for drivers, made inside `folder`. */
export class QuietPlace {
  readonly #folder: string;
  readonly #drivers: QuietDriver[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Makes the folders; what the module cache holds of packages stays where it is. */
  static async make(folder: string): Promise<QuietPlace> {
    const place = new QuietPlace(folder);
    for (const name of ["home", "work", "temporary", "cache"]) Deno.mkdirSync(`${folder}/${name}`);
    const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] })
      .output();
    const { denoDir } = JSON.parse(new TextDecoder().decode(stdout)) as { denoDir: string };
    for (const name of ["npm", "remote"]) {
      try {
        Deno.statSync(`${denoDir}/${name}`);
      } catch {
        continue;
      }
      Deno.symlinkSync(`${denoDir}/${name}`, `${folder}/cache/${name}`);
    }
    return place;
  }

  /** Starts a driver by its start command, there. */
  launch(manifestFile: string): QuietDriver {
    const { executable, args, env } = startCommand(manifestFile, { verbose: true });
    return this.run(executable, args, env);
  }

  /** Starts any program there. */
  run(
    executable: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): QuietDriver {
    const process = new Deno.Command(executable, {
      args: [...args],
      env: {
        ...env,
        DENO_DIR: `${this.#folder}/cache`,
        HOME: `${this.#folder}/home`,
        TMPDIR: `${this.#folder}/temporary`,
      },
      clearEnv: true,
      cwd: `${this.#folder}/work`,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const driver = new QuietDriver(process);
    this.#drivers.push(driver);
    return driver;
  }

  /** Everything that all drivers printed. */
  get printed(): string {
    return this.#drivers.map(({ out, err }) => out + err).join("\n");
  }

  /** Paths of everything in the folders of the drivers, but what is linked in. */
  files(): string[] {
    return list(this.#folder, "").sort();
  }

  /** Bytes of a file among these. */
  read(path: string): Uint8Array {
    return Deno.readFileSync(`${this.#folder}/${path}`);
  }

  /** Ends what still runs. */
  async clear(): Promise<void> {
    for (const driver of this.#drivers) driver.signal("SIGKILL");
    await Promise.all(this.#drivers.map(({ ended }) => ended));
  }
}

function list(folder: string, prefix: string): string[] {
  const found: string[] = [];
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(folder)) {
    const path = `${prefix}${name}`;
    // What is linked was there before, or is the runtime itself.
    if (isSymlink) continue;
    if (isDirectory) found.push(`${path}/`, ...list(`${folder}/${name}`, `${path}/`));
    else found.push(path);
  }
  return found;
}

/** One driver and what it printed. */
export class QuietDriver {
  /** All of its standard output. */
  out = "";
  /** All of its standard error. */
  err = "";
  /** Its exit code, when it has ended. */
  readonly ended: Promise<number>;
  readonly #process: Deno.ChildProcess;

  constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.ended = this.#watch();
  }

  /** Sends a signal; one that has ended does not mind. */
  signal(signal: Deno.Signal): void {
    try {
      this.#process.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Its exit code, within a time that no driver needs. */
  async code(): Promise<number> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`runs on: ${this.err}`)), PATIENCE_MS);
    });
    try {
      return await Promise.race([this.ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks it to end, and gives its exit code. */
  stop(): Promise<number> {
    this.signal("SIGTERM");
    return this.code();
  }

  async #watch(): Promise<number> {
    const { stdout, stderr } = this.#process;
    const reading = Promise.all([
      collect(stdout, (text) => this.out += text),
      collect(stderr, (text) => this.err += text),
    ]);
    const { code } = await this.#process.status;
    await reading;
    return code;
  }
}

async function collect(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  take: (text: string) => void,
): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) take(text);
}
