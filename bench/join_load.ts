// A process full of clients of the join benchmark. Its one argument is a JoinOrder as JSON; on standard input come the words `join`, `begin`,
// `end`, `leave` and `quit`, one a line, and each but the last is answered by one JoinReport on standard output.

import { createHash } from "node:crypto";
import { compileGrants } from "../permissions/compile.ts";
import { parseManifest } from "../permissions/manifest.ts";
import { JoinClient, type JoinRecord } from "./join_client.ts";
import { joinManifest } from "./join_world.ts";
import { Latency } from "./latency.ts";
import { LoadTimer } from "./load_timer.ts";
import { textLines } from "./text_lines.ts";

/** What a load process is told to do. */
export interface JoinOrder {
  /** The server, `host:port`, and the pin of its certificate. */
  readonly endpoint: string;
  readonly pin: string;
  /** Entities of the world, those of them that move, and peers it has room for. */
  readonly entities: number;
  readonly moving: number;
  readonly peers: number;
  /** Clients of this process. */
  readonly clients: number;
  /** The first so many of them decode what comes; the others acknowledge it only, and leave after a while. */
  readonly decoders: number;
  /** They stay when they have a whole world, and do not leave at once. */
  readonly stays: boolean;
  /** Longest wait for a whole world, ms. */
  readonly patienceMs: number;
}

/** What a load process says. */
export type JoinReport =
  /** After `join`: everyone has a whole world, or patience ended. How it went for those who decode. */
  | { readonly kind: "joined"; readonly records: readonly JoinRecord[] }
  /** After `begin` and `leave`. */
  | { readonly kind: "done" }
  /** After `end`: ages of moving entities' values on arrival since `begin`, as `Latency.toPairs` gives them. */
  | { readonly kind: "ages"; readonly ages: readonly number[] }
  /** A client lost its connection, which need not end the measurement. */
  | { readonly kind: "lost"; readonly reason: string };

function report(line: JoinReport): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

async function main(order: JoinOrder): Promise<void> {
  const { entities, moving, peers, endpoint, pin } = order;
  const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
  const text = joinManifest(entities, peers, { role: "client", connect: endpoint });
  const grants = compileGrants(parseManifest(text, "join"), sha256);
  const ages = new Latency();
  const turns = new LoadTimer();
  const leave = (client: JoinClient): void => {
    client.close();
    turns.remove(client);
  };
  let clients: JoinClient[] = [];
  let isLeaving = false;

  const joinAll = async (): Promise<void> => {
    isLeaving = false;
    const whole = Promise.withResolvers<void>();
    let left = order.clients;
    clients = Array.from({ length: order.clients }, (_, i) => {
      const client: JoinClient = new JoinClient({
        grants,
        endpoint,
        pin,
        entities,
        moving,
        sha256,
        acknowledgesOnly: i >= order.decoders,
        onUpdate: (ageMs) => ages.add(ageMs),
        onDone: () => {
          left -= 1;
          // What it would go on reading takes the time of those who are not as far.
          if (!order.stays) leave(client);
          if (left === 0) whole.resolve();
        },
        onLost: (reason) => {
          if (!isLeaving) report({ kind: "lost", reason });
        },
        wake: () => turns.wake(client),
      });
      turns.add(client);
      return client;
    });
    const timer = setTimeout(() => whole.resolve(), order.patienceMs);
    for (const client of clients) client.start();
    await whole.promise;
    clearTimeout(timer);
    report({
      kind: "joined",
      records: clients.slice(0, order.decoders).map(({ record }) => record),
    });
  };

  for await (const word of textLines(Deno.stdin.readable)) {
    if (word === "join") await joinAll();
    else if (word === "begin") {
      ages.clear();
      report({ kind: "done" });
    } else if (word === "end") report({ kind: "ages", ages: ages.toPairs() });
    else if (word === "leave") {
      isLeaving = true;
      for (const client of clients) leave(client);
      clients = [];
      report({ kind: "done" });
    } else if (word === "quit") break;
  }
  isLeaving = true;
  for (const client of clients) client.close();
}

if (import.meta.main) {
  await main(JSON.parse(Deno.args[0]!) as JoinOrder);
  // Connections that say goodbye need a moment; nothing else is left to do.
  setTimeout(() => Deno.exit(0), 100);
}
