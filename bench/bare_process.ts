// One side of the control of the fan-out benchmark, as a process: a server that each tick sends everyone in one datagram what came since the
// last, or clients that each send one datagram a tick and take the time. Its one argument is a BareOrder as JSON; words come on standard
// input, and reports go out on standard output, one a line.

import { Prng } from "../protocol/prng.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import { MIN_DATAGRAM_BYTES } from "../protocol/limits.ts";
import type { Connection } from "../transport/connection.ts";
import { connectQuic, listenQuic } from "../transport/quic.ts";
import { Latency } from "./latency.ts";
import { textLines } from "./text_lines.ts";

/** What a process is told to be. */
export type BareOrder =
  | {
    readonly role: "server";
    /** Ticks a second. */
    readonly hz: number;
    readonly certPem: string;
    readonly keyPem: string;
  }
  | {
    readonly role: "load";
    readonly hz: number;
    /** The server, `host:port`, and the pin of its certificate. */
    readonly endpoint: string;
    readonly pin: string;
    /** Clients of all processes; this one has those whose number leaves `part` when divided by `parts`. */
    readonly n: number;
    readonly part: number;
    readonly parts: number;
  };

/** What a process says. */
export type BareReport =
  | { readonly kind: "listening"; readonly endpoint: string }
  /** All clients are connected; or counting has begun. */
  | { readonly kind: "ready" }
  /** What was counted since, as `Latency.toPairs` gives it. */
  | { readonly kind: "delays"; readonly delays: readonly number[] };

/** A client's number and the time of its sending, ms. */
const ENTRY_BYTES = 10;
/** Time between two connections, ms. */
const CONNECT_GAP_MS = 15;

function report(line: BareReport): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** Calls `tick` at a steady rate from `startMs` on; what was missed is not made up for. */
function everyTick(hz: number, startMs: number, tick: () => void): void {
  const next = (i: number): void => {
    const dueMs = startMs + i * 1000 / hz;
    setTimeout(() => {
      tick();
      next(Math.max(i + 1, Math.ceil((performance.now() - startMs) * hz / 1000)));
    }, Math.max(0, Math.ceil(dueMs - performance.now())));
  };
  next(1);
}

function serve({ hz, certPem, keyPem }: Extract<BareOrder, { role: "server" }>): void {
  const open = new Set<Connection>();
  const entries = new Uint8Array(Math.floor(MIN_DATAGRAM_BYTES / ENTRY_BYTES) * ENTRY_BYTES);
  let length = 0;
  const listener = listenQuic({
    host: "127.0.0.1",
    port: 0,
    cert: certPem,
    key: keyPem,
    onConnection: (connection) => {
      connection.start({
        handleDatagram: (bytes) => {
          if (bytes.length !== ENTRY_BYTES || length === entries.length) return;
          entries.set(bytes, length);
          length += ENTRY_BYTES;
        },
        handleStream: () => {},
        handleClosed: () => open.delete(connection),
      });
      open.add(connection);
    },
  });
  report({ kind: "listening", endpoint: listener.address });
  everyTick(hz, performance.now(), () => {
    if (length === 0) return;
    for (const connection of open) connection.sendDatagram(entries.slice(0, length));
    length = 0;
  });
}

async function load(order: Extract<BareOrder, { role: "load" }>): Promise<void> {
  const { hz, endpoint, pin, n, part, parts } = order;
  const { host, port } = parseEndpoint(endpoint)!;
  const delays = new Latency();
  const prng = new Prng(1 + part);
  for (let number = part; number < n; number += parts) {
    const connection = await connectQuic({ host, port, pin });
    connection.start({
      handleDatagram: (bytes) => {
        const nowMs = performance.now();
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
          const from = view.getUint16(at);
          // Only clients of this process have this clock.
          if (from !== number && from % parts === part) {
            delays.add(nowMs - view.getFloat64(at + 2));
          }
        }
      },
      handleStream: () => {},
      handleClosed: () => {},
    });
    // Everyone in a phase of its own, as engines are that know nothing of the server's ticks.
    everyTick(hz, performance.now() + prng.nextFloat() * 1000 / hz, () => {
      const bytes = new Uint8Array(ENTRY_BYTES);
      const view = new DataView(bytes.buffer);
      view.setUint16(0, number);
      view.setFloat64(2, performance.now());
      connection.sendDatagram(bytes);
    });
    await new Promise((resolve) => setTimeout(resolve, CONNECT_GAP_MS));
  }
  report({ kind: "ready" });
  for await (const word of textLines(Deno.stdin.readable)) {
    if (word === "begin") {
      delays.clear();
      report({ kind: "ready" });
    } else if (word === "end") report({ kind: "delays", delays: delays.toPairs() });
  }
}

if (import.meta.main) {
  const order = JSON.parse(Deno.args[0]!) as BareOrder;
  if (order.role === "server") {
    serve(order);
    for await (const _ of textLines(Deno.stdin.readable)) { /* It ends with its input. */ }
  } else await load(order);
  Deno.exit(0);
}
