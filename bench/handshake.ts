// What forged first datagrams do to a listener. How many bytes it sends to addresses that have proved nothing: what comes back is counted until
// it has given up. And whether others still get in, which is measured in handshake_joiners.ts.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import { IDLE_TIMEOUT_MS, MAX_HANDSHAKES } from "../protocol/limits.ts";
import { createDevelopmentCertificate } from "../transport/certificate.ts";
import { connectQuic, listenQuic } from "../transport/quic.ts";
import { ADMISSION_MS, measureAdmission } from "./handshake_joiners.ts";

const HOST = "127.0.0.1";
/** Certificates in the chains that are tried: handshakes from one datagram to more than the budget of a first datagram. */
const CHAINS = [1, 2, 3, 4, 5, 16];
/** A listener looks at no first datagram that is shorter, bytes (RFC 9000 section 14.1). */
const MIN_INITIAL_BYTES = 1_200;
/** Longest silence, ms, of a client whose first datagram is taken away. */
const FLIGHT_MS = 300;
/** Clients whose first datagrams are taken at once. */
const FLIGHTS_AT_ONCE = 32;

/** Forged first datagrams a second beside honest joiners: more than all handshakes at once finish in their patience, and many more. */
const FLOOD_HZ = [320, 2_000];

/** Datagrams sent without a pause, and the pause, ms: handshakes cost a signature each, and all scenes run at once. */
const SENT_AT_ONCE = 8;
const PAUSE_MS = 30;

/** What the senders of one scene were answered. */
export interface HandshakeTraffic {
  /** UDP payload bytes that the listener got. */
  readonly bytesIn: number;
  /** UDP payload bytes that it sent back, repetitions included. */
  readonly bytesOut: number;
  /** Length of its last datagram, bytes. */
  readonly lastOut: number;
  /** Among its datagrams: requests to prove the address first (RFC 9000 section 8.1.2). */
  readonly retries: number;
  /** `bytesOut` by `bytesIn`. */
  readonly amplification: number;
}

/** A listener, and what it is sent. */
export interface HandshakeScene {
  /** Certificates in the listener's chain; left out: one. */
  readonly chain?: number;
  /** Silence after which the listener gives a handshake up, ms; left out: `IDLE_TIMEOUT_MS`. */
  readonly idleTimeoutMs?: number;
  /** First datagrams, and whatever else. */
  readonly datagrams: readonly Uint8Array[];
}

/** Sends what the scene says from an address that never answers, and counts what comes back until the listener has given up. */
export async function measureHandshake(scene: HandshakeScene): Promise<HandshakeTraffic> {
  const { certPem, keyPem } = await createDevelopmentCertificate();
  const idleTimeoutMs = scene.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
  const listener = listenQuic({
    host: HOST,
    port: 0,
    cert: `${certPem.trim()}\n`.repeat(scene.chain ?? 1),
    key: keyPem,
    idleTimeoutMs,
    onConnection: () => {},
  });
  const victim = udpSocket();
  const tally = { bytesIn: 0, bytesOut: 0, lastOut: 0, retries: 0 };
  const counting = countAnswers(victim, tally);
  try {
    const to = { transport: "udp", hostname: HOST, port: portOf(listener.address) } as const;
    for (const [i, datagram] of scene.datagrams.entries()) {
      tally.bytesIn += datagram.length;
      await victim.send(datagram, to);
      // What a full socket buffer drops would count as received and not be answered.
      if (i % SENT_AT_ONCE === SENT_AT_ONCE - 1) await sleep(PAUSE_MS);
    }
    // A listener repeats what is not acknowledged, ever more rarely, until it gives up.
    await sleep(idleTimeoutMs * 1.3);
  } finally {
    victim.close();
    await counting;
    listener.close();
    await sleep(1);
  }
  return { ...tally, amplification: tally.bytesOut / tally.bytesIn };
}

/** The first datagrams of as many real clients that want to connect. */
export async function firstFlights(count: number): Promise<Uint8Array<ArrayBuffer>[]> {
  const flights: Uint8Array<ArrayBuffer>[] = [];
  while (flights.length < count) {
    const trap = udpSocket();
    const { port } = trap.addr as Deno.NetAddr;
    const wanted = Math.min(FLIGHTS_AT_ONCE, count - flights.length);
    const attempts = Array.from({ length: wanted }, () =>
      connectQuic({
        host: HOST,
        port,
        pin: "00".repeat(32),
        idleTimeoutMs: FLIGHT_MS,
        timeoutMs: 10 * FLIGHT_MS,
        // Nobody answers; it ends by itself.
      }).catch(() => {}));
    const seen = new Set<number>();
    while (seen.size < wanted) {
      const [flight, from] = await trap.receive();
      const { port } = from as Deno.NetAddr;
      if (!seen.has(port)) flights.push(flight);
      seen.add(port);
    }
    trap.close();
    await Promise.all(attempts);
  }
  return flights;
}

async function countAnswers(
  socket: Deno.DatagramConn,
  tally: { bytesOut: number; lastOut: number; retries: number },
): Promise<void> {
  for await (const [datagram] of socket) {
    tally.bytesOut += datagram.length;
    tally.lastOut = datagram.length;
    // A long header of type 3, whose version is not 0 (RFC 9000 section 17.2.5).
    const hasVersion = datagram.subarray(1, 5).some((byte) => byte !== 0);
    if ((datagram[0]! & 0xb0) === 0xb0 && hasVersion) tally.retries += 1;
  }
}

/** A first datagram of a version that no listener speaks, so that it answers with those it does. */
export function otherVersion(flight: Uint8Array): Uint8Array {
  const changed = flight.slice();
  new DataView(changed.buffer).setUint32(1, 0x1a2a3a4a);
  return changed;
}

/** What no listener has to answer: first datagrams that are too short, and a datagram of a connection that it does not know. */
export function strays(flight: Uint8Array): Uint8Array[] {
  const foreign = flight.slice(0, 200);
  foreign[0] = 0x40;
  return [flight.subarray(0, MIN_INITIAL_BYTES - 1), flight.subarray(0, 100), foreign];
}

function udpSocket(): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
}

const portOf = (address: string) => Number(address.split(":").at(-1));
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Options of the benchmark. */
export const HANDSHAKE_OPTIONS: readonly OptionSpec[] = [
  {
    name: "n",
    kind: "integer",
    value: "N",
    help: "forged first datagrams of a flood",
    preset: MAX_HANDSHAKES + 44,
    min: 1,
    max: 2_000,
  },
  {
    name: "idle",
    kind: "integer",
    value: "MS",
    help: "silence after which the listener gives a handshake up",
    preset: IDLE_TIMEOUT_MS,
    min: 1_100,
    max: IDLE_TIMEOUT_MS,
  },
  {
    name: "seconds",
    kind: "integer",
    value: "S",
    help: "length of each flood beside honest joiners",
    preset: 10,
    min: 1,
    max: 600,
  },
];

/** Runs the benchmark. */
export async function runHandshake(
  options: Options,
  print: (line: string) => void,
): Promise<void> {
  const count = options.integer("n");
  const flights = await firstFlights(count);
  const one = flights.slice(0, 1);
  const idleTimeoutMs = options.integer("idle");
  const measure = (scene: HandshakeScene) => measureHandshake({ ...scene, idleTimeoutMs });
  // All of it is waiting, so it waits at once.
  const [floods, lone, [repeated, version, stray]] = await Promise.all([
    Promise.all(CHAINS.map((chain) => measure({ chain, datagrams: flights }))),
    Promise.all(CHAINS.map((chain) => measure({ chain, datagrams: one }))),
    Promise.all([
      measure({ datagrams: Array.from({ length: 20 }, () => one[0]!) }),
      measure({ datagrams: [otherVersion(one[0]!)] }),
      measure({ datagrams: strays(one[0]!) }),
    ]),
  ]);
  print("certificates in the chain, bytes sent by bytes received: one forged datagram, a flood");
  CHAINS.forEach((chain, i) => {
    print(
      `${String(chain).padStart(3)}  ${lone[i]!.amplification.toFixed(3)}  ${
        floods[i]!.amplification.toFixed(3)
      }`,
    );
  });
  const floodsBeside = await measureAdmission(one[0]!, FLOOD_HZ, options.integer("seconds"));
  print(`honest joiners, 10 a second, that are in within ${ADMISSION_MS} ms:`);
  for (const { rateHz, joiners, share, firstShare, medianMs, cpu, rssMb } of floodsBeside) {
    print(
      `${rateHz.toFixed(0).padStart(6)} forged a second: ${
        (share * 100).toFixed(1)
      } % of ${joiners}, ${(firstShare * 100).toFixed(1)} % at the first try; median ${
        medianMs.toFixed(0)
      } ms; driver ${cpu.toFixed(2)} cores, ${rssMb.toFixed(0)} MB`,
    );
  }
  const [flood, heavy] = [floodsBeside[0]!, floodsBeside[1]!];
  const highest = (all: readonly HandshakeTraffic[]) =>
    Math.max(...all.map(({ amplification }) => amplification));
  const all = [...lone, ...floods, repeated, version, stray];
  const figures = {
    name: "handshake",
    n: count,
    amplification: highest(floods),
    own_certificate: floods[0]!.amplification,
    lone: lone[0]!.amplification,
    lone_worst: highest(lone),
    repeated: repeated.amplification,
    other_version: version.amplification,
    stray: stray.amplification,
    retries: all.reduce((sum, { retries }) => sum + retries, 0),
    admitted: flood.share,
    admitted_first: flood.firstShare,
    admitted_heavy: heavy.share,
    admitted_first_heavy: heavy.firstShare,
    cpu_heavy: heavy.cpu,
  };
  print(
    JSON.stringify(
      figures,
      (_, value) => typeof value === "number" ? Math.round(value * 1000) / 1000 : value,
    ),
  );
}
