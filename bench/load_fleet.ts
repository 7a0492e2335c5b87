// The load processes of one benchmark run, seen from the process that measures: starting them, waiting for them, adding up what they
// counted. What the load does is in load_process.ts.

import { Latency } from "./latency.ts";
import type { LoadOrder, LoadReport } from "./load_process.ts";
import { readCpuSeconds } from "./proc_stat.ts";
import { textLines } from "./text_lines.ts";

/** Clients that one process carries without becoming what is measured. */
const CLIENTS_PER_PROCESS = 50;

/** What all clients together received in the measured time. */
export interface LoadResult {
  readonly updates: number;
  readonly poses: number;
  readonly bytesIn: number;
  readonly datagramsIn: number;
  /** Mean age of the references of what was received, ticks. */
  readonly referenceAge: number;
  readonly delays: Latency;
  /** How late the load's own poses were. */
  readonly late: Latency;
}

/** What one process counted between `begin` and `end`. */
type LoadCount = Extract<LoadReport, { kind: "result" }>;

/** One load process. */
class Worker {
  readonly ready: Promise<void>;
  /** Rejects when the process ends or loses a connection before it was told to quit. */
  readonly broken: Promise<never>;
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #isQuitting = false;
  /** Takes the next result. */
  #give: (result: LoadCount) => void = () => {};

  constructor(order: LoadOrder) {
    const module = new URL("./load_process.ts", import.meta.url);
    const config = new URL("../deno.json", import.meta.url);
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--quiet",
        "--no-check",
        `--config=${config.pathname}`,
        module.pathname,
        JSON.stringify(order),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    const ready = Promise.withResolvers<void>();
    const broken = Promise.withResolvers<never>();
    [this.ready, this.broken] = [ready.promise, broken.promise];
    broken.promise.catch(() => {});
    this.#listen((report) => {
      if (report.kind === "ready") ready.resolve();
      else if (report.kind === "result") this.#give(report);
      else broken.reject(new Error(`a client of the load lost its connection: ${report.reason}`));
    }).then(() => {
      if (!this.#isQuitting) broken.reject(new Error("a load process ended too early"));
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Counting begins. */
  async begin(): Promise<void> {
    await this.#say("begin");
  }

  /** Counting ends; what was counted. */
  async end(): Promise<LoadCount> {
    const result = new Promise<LoadCount>((give) => this.#give = give);
    await this.#say("end");
    return await result;
  }

  async #say(word: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${word}\n`));
  }

  async quit(): Promise<void> {
    this.#isQuitting = true;
    try {
      await this.#input.write(new TextEncoder().encode("quit\n"));
      await this.#input.close();
    } catch {
      // It has ended already.
    }
    await this.#process.status;
  }

  async #listen(handle: (report: LoadReport) => void): Promise<void> {
    for await (const line of textLines(this.#process.stdout)) {
      handle(JSON.parse(line) as LoadReport);
    }
  }
}

/** All load processes of one run. Order of calls: `ready`, any number of `begin` and `end`, `quit`; a lost connection rejects the call it meets. */
export class LoadFleet {
  readonly #workers: Worker[];

  /** Starts `n` clients at once; they go on joining while `ready` waits. */
  constructor(order: Omit<LoadOrder, "part" | "parts">) {
    const parts = Math.ceil(order.n / CLIENTS_PER_PROCESS);
    this.#workers = Array.from(
      { length: parts },
      (_, part) => new Worker({ ...order, part, parts }),
    );
  }

  /** Load processes. */
  get size(): number {
    return this.#workers.length;
  }

  /** Processor time of each load process so far, seconds. */
  cpuSeconds(): number[] {
    return this.#workers.map((worker) => readCpuSeconds(worker.pid));
  }

  /** Resolves when everyone sees everyone. */
  async ready(): Promise<void> {
    await this.#each((worker) => worker.ready);
  }

  /** Counting begins. */
  async begin(): Promise<void> {
    await this.#each((worker) => worker.begin());
  }

  /** Counting ends. */
  async end(): Promise<LoadResult> {
    const results = await this.#each((worker) => worker.end());
    const delays = new Latency();
    const late = new Latency();
    for (const result of results) {
      delays.addPairs(result.delays);
      late.addPairs(result.late);
    }
    type Summed = "updates" | "poses" | "bytesIn" | "datagramsIn" | "references" | "referenceTicks";
    const sum = (key: Summed) => results.reduce((total, result) => total + result[key], 0);
    return {
      updates: sum("updates"),
      poses: sum("poses"),
      bytesIn: sum("bytesIn"),
      datagramsIn: sum("datagramsIn"),
      referenceAge: sum("referenceTicks") / sum("references"),
      delays,
      late,
    };
  }

  /** Rejects with the first connection or process that is lost; never resolves. */
  get broken(): Promise<never> {
    return Promise.race(this.#workers.map((worker) => worker.broken));
  }

  /** Ends all load processes and waits for their end. */
  async quit(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.quit()));
  }

  #each<T>(call: (worker: Worker) => Promise<T>): Promise<T[]> {
    return Promise.race([
      Promise.all(this.#workers.map(call)),
      this.broken,
    ]);
  }
}
