// The control of the fan-out benchmark: what the same clients cost a server that only carries one datagram each way a tick, without state,
// rights or an engine. The two sides are processes of `bare_process.ts`.

import { createDevelopmentCertificate } from "../transport/certificate.ts";
import { rounded } from "./cpu_meter.ts";
import { AVATAR_HZ } from "./fanout_manifest.ts";
import { Latency } from "./latency.ts";
import type { BareOrder, BareReport } from "./bare_process.ts";
import { readCpuSeconds } from "./proc_stat.ts";
import { within } from "./server_engine.ts";
import { textLines } from "./text_lines.ts";

/** Clients that one process carries. */
const CLIENTS_PER_PROCESS = 50;
/** Longest wait for a process, ms. */
const PATIENCE_MS = 60_000;

/** What the control found. */
export interface BareFigures {
  /** Processor time of the server, by the length of the window. */
  readonly floor_cpu: number;
  /** From a client's send to another's, over the server's tick. */
  readonly floor_p99_ms: number;
}

/** One process of the control, seen from here. */
class BareProcess {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting: ((report: BareReport) => void)[] = [];
  readonly #ended: Promise<never>;

  constructor(order: BareOrder) {
    const module = new URL("./bare_process.ts", import.meta.url).pathname;
    const config = new URL("../deno.json", import.meta.url).pathname;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", `--config=${config}`, module]
        .concat(JSON.stringify(order)),
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#ended = this.#listen();
    this.#ended.catch(() => {});
  }

  get pid(): number {
    return this.#process.pid;
  }

  async #listen(): Promise<never> {
    for await (const line of textLines(this.#process.stdout)) {
      this.#waiting.shift()?.(JSON.parse(line) as BareReport);
    }
    throw new Error("a process of the control ended too early");
  }

  /** Its next report. */
  async next(): Promise<BareReport> {
    const report = new Promise<BareReport>((give) => this.#waiting.push(give));
    return await within(
      PATIENCE_MS,
      "the control does not answer",
      Promise.race([report, this.#ended]),
    );
  }

  /** Says a word, and waits for the answer. */
  async ask(word: string): Promise<BareReport> {
    const report = this.next();
    await this.#input.write(new TextEncoder().encode(`${word}\n`));
    return await report;
  }

  async quit(): Promise<void> {
    try {
      await this.#input.close();
    } catch {
      // It has ended already.
    }
    await this.#process.status;
  }
}

/** Runs the control. @param n Clients. @param seconds Length of the window. */
export async function measureBareLoop(n: number, seconds: number): Promise<BareFigures> {
  const { certPem, keyPem, pin } = await createDevelopmentCertificate();
  const processes: BareProcess[] = [];
  try {
    const server = new BareProcess({ role: "server", hz: AVATAR_HZ, certPem, keyPem });
    processes.push(server);
    const listening = await server.next();
    if (listening.kind !== "listening") throw new Error("the control's server does not listen");
    const parts = Math.ceil(n / CLIENTS_PER_PROCESS);
    const loads = Array.from({ length: parts }, (_, part) =>
      new BareProcess({
        role: "load",
        hz: AVATAR_HZ,
        endpoint: listening.endpoint,
        pin,
        n,
        part,
        parts,
      }));
    processes.push(...loads);
    await Promise.all(loads.map((load) => load.next()));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await Promise.all(loads.map((load) => load.ask("begin")));
    const [cpu, startMs] = [readCpuSeconds(server.pid), performance.now()];
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const used = (readCpuSeconds(server.pid) - cpu) / ((performance.now() - startMs) / 1000);
    const delays = new Latency();
    for (const report of await Promise.all(loads.map((load) => load.ask("end")))) {
      if (report.kind === "delays") delays.addPairs(report.delays);
    }
    return { floor_cpu: rounded(used, 3), floor_p99_ms: delays.percentile(0.99) };
  } finally {
    await Promise.all(processes.map((process) => process.quit()));
  }
}
