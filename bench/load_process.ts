// A process full of load clients, started by a benchmark. Its one argument is a LoadOrder as JSON; on standard input come the words
// `begin`, `end` and `quit`, one a line, and on standard output it answers with one LoadReport a line.

import { createHash } from "node:crypto";
import { readClips } from "../examples/recorded.ts";
import { compileGrants } from "../permissions/compile.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { Prng } from "../protocol/prng.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { AvatarPlayer, drawPlaces } from "./avatar_player.ts";
import { AVATAR_HZ, fanoutManifest } from "./fanout_manifest.ts";
import { Latency } from "./latency.ts";
import { LoadClient } from "./load_client.ts";
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
  /** Seed of places, clips, starting frames and phases. */
  readonly seed: number;
  /** The clients' manifest, where their world is another than the fan-out's. */
  readonly manifest?: string;
}

/** What a load process says. */
export type LoadReport =
  /** All its clients see all avatars. */
  | { readonly kind: "ready" }
  /** What was received between `begin` and `end`. */
  | {
    readonly kind: "result";
    /** Other peers' poses handed to a client's engine, over all clients. */
    readonly updates: number;
    /** Poses handed over by the clients' engines. */
    readonly poses: number;
    /** Bytes and number of datagrams received by the clients. */
    readonly bytesIn: number;
    readonly datagramsIn: number;
    /** Delays between clients of this process, as `Latency.toPairs` gives them. */
    readonly delays: readonly number[];
  }
  /** A connection failed or ended: the benchmark is void. */
  | { readonly kind: "lost"; readonly reason: string };

/** Time between two joins, ms: a server takes a bounded number of connections that have not joined. */
const JOIN_GAP_MS = 15;
/** Poses of one avatar whose time of handing over is kept: two seconds' worth. */
const KEPT_POSES = 64;

/** When each pose of each avatar was handed over, for clients of this process; the newest poses alone. */
class HandOvers {
  readonly #byPeer = new Map<number, Map<TimelineTime, number>>();

  note(peer: number, time: TimelineTime, handedMs: number): void {
    let poses = this.#byPeer.get(peer);
    if (poses === undefined) this.#byPeer.set(peer, poses = new Map());
    poses.set(time, handedMs);
    if (poses.size > KEPT_POSES) poses.delete(poses.keys().next().value!);
  }

  /** `undefined` for avatars of other processes. */
  find(peer: number, time: TimelineTime): number | undefined {
    return this.#byPeer.get(peer)?.get(time);
  }
}

function report(line: LoadReport): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

async function main(order: LoadOrder): Promise<void> {
  const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
  const text = order.manifest ??
    fanoutManifest(order.n, { role: "client", connect: order.endpoint });
  const grants = compileGrants(parseManifest(text, "fan-out"), sha256);
  const periodMs = 1000 / AVATAR_HZ;
  const handOvers = new HandOvers();
  const delays = new Latency();
  let [updates, poses] = [0, 0];
  let isQuitting = false;
  const events = {
    sent: (peer: number, time: TimelineTime, handedMs: number) => {
      poses += 1;
      handOvers.note(peer, time, handedMs);
    },
    received: (owner: number, time: TimelineTime, nowMs: number) => {
      updates += 1;
      const handedMs = handOvers.find(owner, time);
      if (handedMs !== undefined) delays.add(nowMs - handedMs);
    },
    lost: (reason: string) => {
      if (!isQuitting) report({ kind: "lost", reason });
    },
  };

  const prng = new Prng(order.seed);
  const clips = readClips();
  const places = drawPlaces(order.n, prng);
  const clients: LoadClient[] = [];
  const startMs = performance.now();
  for (let i = 0; i < order.n; i++) {
    // Every process draws for all clients, so that what a client does is no matter of the number of processes.
    const own = prng.fork();
    const clip = clips[own.nextBelow(clips.length)]!;
    const frame = own.nextBelow(2 * (clip.frameCount - 1));
    const phaseMs = own.nextFloat() * periodMs;
    if (i % order.parts !== order.part) continue;
    const player = new AvatarPlayer(clip, places[i]!, frame, AVATAR_HZ, grants.components[0]!);
    const { endpoint, pin } = order;
    const client = new LoadClient({ grants, endpoint, pin, player, periodMs, sha256, events });
    clients.push(client);
    setTimeout(() => client.start(startMs + phaseMs), i * JOIN_GAP_MS);
  }

  const ready = setInterval(() => {
    if (!clients.every((client) => client.visible >= order.n - 1)) return;
    clearInterval(ready);
    report({ kind: "ready" });
  }, 50);

  const sum = (name: string) => clients.reduce((total, client) => total + client.counter(name), 0);
  let [bytesIn, datagramsIn] = [0, 0];
  for await (const word of textLines(Deno.stdin.readable)) {
    if (word === "begin") {
      [bytesIn, datagramsIn] = [sum("net.bytesIn"), sum("net.datagramsIn")];
      [updates, poses] = [0, 0];
      delays.clear();
    } else if (word === "end") {
      report({
        kind: "result",
        updates,
        poses,
        bytesIn: sum("net.bytesIn") - bytesIn,
        datagramsIn: sum("net.datagramsIn") - datagramsIn,
        delays: delays.toPairs(),
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
