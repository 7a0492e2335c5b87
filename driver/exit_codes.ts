// What the programs tell the shell when they end: one table of numbers, names and sentences. `help` prints it.
// Nothing here ends a process.

/** Exit codes of every command. A driver that a signal ends has 128 + the signal's number, as shells have it. */
export const ExitCode = {
  /** Done, or ended as asked. */
  Ok: 0,
  /** A mistake of this program. */
  Bug: 1,
  /** The command line is wrong. */
  Usage: 2,
  /** The manifest is missing or has mistakes. */
  Manifest: 3,
  /** The process holds rights that the manifest does not name. */
  ExcessRights: 4,
  /** Nothing answers on the engine's socket. */
  EngineSocket: 5,
  /** The engine refused the driver, or the driver the engine. */
  EngineRefused: 6,
  /** The link to the engine ended. */
  EngineEnded: 7,
  /** The network cannot be used as the manifest says. */
  Network: 8,
  /** Certificate, key or pin cannot be used. */
  Certificate: 9,
  /** The demo ran and its verdict is "failed". */
  DemoFailed: 10,
  /** A file or folder cannot be read or written. */
  File: 11,
  /** A join token or its key cannot be used. */
  Token: 12,
  /** The manifest adds rights over the one it was checked against. */
  Widened: 13,
  /** The driver came near the memory that its manifest allows. */
  Memory: 14,
} as const;

/** One of {@linkcode ExitCode}'s numbers. */
export type ExitCode = typeof ExitCode[keyof typeof ExitCode];

/** What each code means and what to do about it, by number. */
export const EXIT_TEXT: Readonly<Record<ExitCode, string>> = {
  [ExitCode.Ok]: "done, or ended as asked",
  [ExitCode.Bug]:
    "a mistake of this program: run it again with --verbose and report what it prints",
  [ExitCode.Usage]: "the command line is wrong: see the help of the command",
  [ExitCode.Manifest]: "the manifest is missing or has mistakes: see what `check` prints",
  [ExitCode.ExcessRights]:
    "the process holds rights outside the manifest: start it with `launch`, or as `flags` prints",
  [ExitCode.EngineSocket]: "nothing answers on the engine's socket: start the engine first",
  [ExitCode.EngineRefused]: "engine and driver do not fit: other link version, role or manifest",
  [ExitCode.EngineEnded]: "the link to the engine ended: start a new driver, which resumes",
  [ExitCode.Network]: "the network cannot be used: port taken, or address not to be had",
  [ExitCode.Certificate]: "certificate, key or pin cannot be used: missing, expired, or no match",
  [ExitCode.DemoFailed]: "the demo ran and its verdict is failed",
  [ExitCode.File]: "a file or folder cannot be read or written",
  [ExitCode.Token]:
    "a join token or a key for one cannot be used: malformed, expired, or badly signed",
  [ExitCode.Widened]: "the manifest adds rights over the old one: see what `check` lists",
  [ExitCode.Memory]:
    "the driver came near `host.limits.memoryMb`: allow more, or see what `check` says needs it",
};

/** The table as lines for `help`. */
export function exitCodeLines(): string[] {
  return Object.entries(EXIT_TEXT).map(([code, text]) => `${code.padStart(4)}  ${text}`);
}

/** A failure whose cause lies with the operator: one paragraph to print, and the code to exit with. */
export class CommandError extends Error {
  /** What the shell is told. */
  readonly exitCode: ExitCode;

  /** @param message What is wrong and what to change, in whole sentences. */
  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}
