// A process full of load clients, started by a benchmark. Its one argument is a LoadOrder as JSON; on standard input come the words
// `begin`, `end` and `quit`, one a line, and on standard output it answers with one LoadReport a line.

import { createHash } from "node:crypto";
import { readClips } from "../examples/recorded.ts";
import { compileGrants } from "../permissions/compile.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { Prng } from "../protocol/prng.ts";
import { AvatarPlayer, drawPlaces } from "./avatar_player.ts";
import { AVATAR_HZ, fanoutManifest } from "./fanout_manifest.ts";
import { LoadClient } from "./load_client.ts";
import { LoadCount } from "./load_count.ts";
import { LoadTimer } from "./load_timer.ts";
import { textLines } from "./text_lines.ts";

/** What a load process is told to do. */
export interface LoadOrder {
  /** The server, `host:port`. */
  readonly endpoint: string;
  /** Pin of its certificate. */
  readonly pin: string;
  /** Clients of the whole benchmark. */
  readonly n: number;
  /** This process is the `part`-th of `parts` and hosts every client whose number leaves that rest. */
  readonly part: number;
  readonly parts: number;
  /** The first so many of all clients decode what comes; the others acknowledge it only. */
  readonly decoders: number;
  /** Seed of places, clips, starting frames and losses. */
  readonly seed: number;
  /** Share of datagrams that each client loses, of either direction. */
  readonly loss: number;
  /** The clients' manifest, where their world is another than the fan-out's. */
  readonly manifest?: string;
}

/** What a load process says. */
export type LoadReport =
  /** All its clients that decode see all avatars. */
  | { readonly kind: "ready" }
  /** What was received between `begin` and `end`. */
  | {
    readonly kind: "result";
    /** Other peers' poses decoded, over all clients. */
    readonly updates: number;
    /** Poses handed over to the clients' links. */
    readonly poses: number;
    /** Bytes and number of datagrams received by the clients that decode. */
    readonly bytesIn: number;
    readonly datagramsIn: number;
    /** Values with a reference, and how much older than their datagrams those were, ticks. */
    readonly references: number;
    readonly referenceTicks: number;
    /** Delays between clients of this process, as `Latency.toPairs` gives them. */
    readonly delays: readonly number[];
    /** How late poses were handed over, likewise. */
    readonly late: readonly number[];
  }
  /** A connection failed or ended: the benchmark is void. */
  | { readonly kind: "lost"; readonly reason: string };

/** Time between two joins, ms: a server takes a bounded number of connections that have not joined. */
const JOIN_GAP_MS = 15;

function report(line: LoadReport): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

async function main(order: LoadOrder): Promise<void> {
  const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
  const text = order.manifest ??
    fanoutManifest(order.n, { role: "client", connect: order.endpoint });
  const grants = compileGrants(parseManifest(text, "fan-out"), sha256);
  const count = new LoadCount(grants.maxEntities);
  const timer = new LoadTimer();
  let isQuitting = false;
  const lost = (reason: string) => {
    if (!isQuitting) report({ kind: "lost", reason });
  };

  const prng = new Prng(order.seed);
  const clips = readClips();
  const places = drawPlaces(order.n, prng);
  const clients: LoadClient[] = [];
  const decoding: LoadClient[] = [];
  for (let i = 0; i < order.n; i++) {
    // Every process draws for all clients, so that what a client does is no matter of the number of processes.
    const own = prng.fork();
    const clip = clips[own.nextBelow(clips.length)]!;
    const frame = own.nextBelow(2 * (clip.frameCount - 1));
    if (i % order.parts !== order.part) continue;
    const player = new AvatarPlayer(clip, places[i]!, frame, AVATAR_HZ, grants.components[0]!);
    const { endpoint, pin } = order;
    const client: LoadClient = new LoadClient({
      grants,
      endpoint,
      pin,
      player,
      sha256,
      loss: order.loss,
      prng: own,
      acknowledgesOnly: i >= order.decoders,
      count,
      wake: () => timer.wake(client),
      lost,
    });
    clients.push(client);
    if (i < order.decoders) decoding.push(client);
    timer.add(client);
    setTimeout(() => client.start(), i * JOIN_GAP_MS);
  }

  const ready = setInterval(() => {
    if (!decoding.every((client) => client.visible >= order.n - 1)) return;
    clearInterval(ready);
    report({ kind: "ready" });
  }, 50);

  const sum = (name: string) => decoding.reduce((total, client) => total + client.counter(name), 0);
  let [bytesIn, datagramsIn] = [0, 0];
  for await (const word of textLines(Deno.stdin.readable)) {
    if (word === "begin") {
      [bytesIn, datagramsIn] = [sum("net.bytesIn"), sum("net.datagramsIn")];
      count.clear();
    } else if (word === "end") {
      report({
        kind: "result",
        updates: count.updates,
        poses: count.poses,
        references: count.references,
        referenceTicks: count.referenceTicks,
        bytesIn: sum("net.bytesIn") - bytesIn,
        datagramsIn: sum("net.datagramsIn") - datagramsIn,
        delays: count.delays.toPairs(),
        late: count.late.toPairs(),
      });
    } else if (word === "quit") break;
  }
  isQuitting = true;
  clearInterval(ready);
  for (const client of clients) client.close();
}

if (import.meta.main) {
  await main(JSON.parse(Deno.args[0]!) as LoadOrder);
  // Connections that say goodbye need a moment; nothing else is left to do.
  setTimeout(() => Deno.exit(0), 100);
}
