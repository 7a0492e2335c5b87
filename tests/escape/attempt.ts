// What an attempt to get out of the sandbox is, and what it aims at. The attempts themselves are in the files beside this one; nothing
// here opens anything.

/** What the test puts in reach of an attempt, all of it working for a process with every right. */
export interface Targets {
  /** Folder of the manifest, absolute. */
  readonly folder: string;
  /** The driver's manifest. */
  readonly manifest: string;
  /** The engine's socket. */
  readonly engineSocket: string;
  /** Another Unix socket on which somebody listens. */
  readonly otherSocket: string;
  /** A Unix socket that speaks HTTP. */
  readonly httpSocket: string;
  /** Name of an abstract Unix socket, without its zero byte. */
  readonly abstractName: string;
  /** The granted port; TCP on it answers HTTP with a redirect to `httpPort`. */
  readonly grantedPort: number;
  /** A port not granted that takes any TCP connection. */
  readonly tcpPort: number;
  /** One that speaks TLS. */
  readonly tlsPort: number;
  /** One that speaks HTTP, WebSocket and event streams. */
  readonly httpPort: number;
  /** A UDP port not granted that answers as a name server. */
  readonly udpPort: number;
  /** One that speaks QUIC. */
  readonly quicPort: number;
  /** Certificate of the TLS and QUIC ports, PEM, in a text because it may not be read. */
  readonly certPem: string;
}

/** One attempt. */
export interface Attempt {
  /** What it does, as the tail of "inside the driver's sandbox". */
  readonly does: string;
  /** Tried only after start-up: until then the driver needs what is tried, or the attempt would disturb the start. */
  readonly late?: true;
  /** What "name code message" of the error must look like to count as refused; the runtime's own refusal if not given. */
  readonly refusal?: RegExp;
  /** Resolves if the attempt succeeded, and cleans up behind itself. */
  readonly run: (targets: Targets) => unknown;
}

/** How one attempt ended. */
export interface AttemptOutcome {
  readonly does: string;
  readonly verdict: "refused" | "succeeded" | "failed otherwise";
  /** What was said. */
  readonly detail: string;
}

/** Thrown by attempts whose refusal is an answer and no error. */
export class Refused extends Error {
  override name = "Refused";
}

/** The runtime's refusal, and how its Node layer words the same. */
const REFUSED = /^(NotCapable|Refused) |NotCapable: |Requires \w+ access/;

/** Longest an attempt may take, ms; a refusal takes none. */
const ATTEMPT_MS = 5_000;

/** Tries one after the other. */
export async function tryAll(
  attempts: readonly Attempt[],
  targets: Targets,
): Promise<AttemptOutcome[]> {
  const outcomes: AttemptOutcome[] = [];
  for (const attempt of attempts) {
    outcomes.push(await tryOne(attempt, targets));
    // Most refusals come at once: without a pause the driver beside them would never see its sockets.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return outcomes;
}

async function tryOne(attempt: Attempt, targets: Targets): Promise<AttemptOutcome> {
  const { does } = attempt;
  let timer: ReturnType<typeof setTimeout> | undefined;
  // The Node layer throws some refusals where nobody can catch them.
  let onError: ((event: ErrorEvent) => void) | undefined;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), ATTEMPT_MS);
    onError = (event) => {
      event.preventDefault();
      reject(event.error);
    };
    addEventListener("error", onError);
  });
  try {
    await Promise.race([Promise.resolve().then(() => attempt.run(targets)), late]);
    return { does, verdict: "succeeded", detail: "" };
  } catch (error) {
    const detail = describe(error);
    const refused = (attempt.refusal ?? REFUSED).test(detail);
    return { does, verdict: refused ? "refused" : "failed otherwise", detail };
  } finally {
    clearTimeout(timer);
    removeEventListener("error", onError!);
  }
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  const cause = error.cause instanceof Error ? ` (${describe(error.cause)})` : "";
  const text = error.message.replaceAll(/\s+/g, " ").slice(0, 300);
  return `${error.name} ${typeof code === "string" ? `${code} ` : ""}${text}${cause}`;
}

/** Resolves with the first of an emitter's events in `wanted`, rejects with its error. */
export function firstEvent(
  emitter: {
    once(name: string, listener: (...args: unknown[]) => void): unknown;
    on(name: string, listener: (...args: unknown[]) => void): unknown;
  },
  ...wanted: readonly string[]
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    for (const name of wanted) emitter.once(name, resolve);
    emitter.on("error", reject);
  });
}
