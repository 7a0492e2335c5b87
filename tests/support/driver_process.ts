// A driver started as a process of its own, watched by a test: what it says on standard error, how it ends, what the system knows of it.
// It is started under its exact rights and environment, never more.

import { launchDriver, type LaunchOptions, type StartCommand } from "../../driver/launcher.ts";

/** One driver process. */
export class DriverProcess {
  /** What was run. */
  readonly command: StartCommand;
  /** The exit code, once it has ended; 128 and the signal's number where a signal ended it. */
  readonly ended: Promise<number>;
  /** Everything it has said on standard error so far. */
  err = "";
  /** The exit code, or `undefined` while it runs. */
  exitCode: number | undefined;
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess, command: StartCommand) {
    this.#process = process;
    this.command = command;
    this.ended = this.#watch();
  }

  /** Starts the driver of the manifest at `manifestFile`. */
  static launch(manifestFile: string, options: LaunchOptions = {}): DriverProcess {
    const { process, command } = launchDriver(manifestFile, {
      stdout: "null",
      stderr: "piped",
      ...options,
    });
    return new DriverProcess(process, command);
  }

  /** Its process id. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Sends a signal; a process that has ended does not mind. */
  signal(signal: Deno.Signal): void {
    try {
      this.#process.kill(signal);
    } catch {
      // It has ended.
    }
  }

  /** Asks it to end, and gives its exit code. */
  async stop(): Promise<number> {
    this.signal("SIGTERM");
    return await this.ended;
  }

  /** Ends it as a crash would. */
  async crash(): Promise<void> {
    this.signal("SIGKILL");
    await this.ended;
  }

  /** Main memory it holds, bytes. */
  get rssBytes(): number {
    const status = Deno.readTextFileSync(`/proc/${this.pid}/status`);
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
  }

  /** Its words, as the system has them: the executable first. */
  get words(): string[] {
    return Deno.readTextFileSync(`/proc/${this.pid}/cmdline`).split("\0").slice(0, -1);
  }

  /** Its environment, as the system has it. */
  get environment(): Record<string, string> {
    return environmentOf(this.pid);
  }

  async #watch(): Promise<number> {
    const reading = (async () => {
      for await (const text of this.#process.stderr.pipeThrough(new TextDecoderStream())) {
        this.err += text;
      }
    })();
    const { code } = await this.#process.status;
    await reading;
    return this.exitCode = code;
  }
}

/** The environment of a process, as the system has it. */
export function environmentOf(pid: number): Record<string, string> {
  const entries = Deno.readTextFileSync(`/proc/${pid}/environ`).split("\0").filter((one) => one);
  return Object.fromEntries(entries.map((entry) => {
    const at = entry.indexOf("=");
    return [entry.slice(0, at), entry.slice(at + 1)];
  }));
}
