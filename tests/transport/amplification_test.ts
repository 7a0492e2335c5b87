// What a listener sends to addresses that have proved nothing: bytes counted until it has given up, over real sockets. And that the bound is
// not paid for by those who are only far away.

import { assert, assertEquals, assertLess } from "@std/assert";
import {
  firstFlights,
  type HandshakeScene,
  measureHandshake,
  otherVersion,
  strays,
} from "../../bench/handshake.ts";
import { HANDSHAKE_PATIENCE_MS, MAX_SLOW_HANDSHAKES } from "../../protocol/limits.ts";
import type { Connection } from "../../transport/connection.ts";
import { createDevelopmentCertificate } from "../../transport/certificate.ts";
import { connectQuic, listenQuic } from "../../transport/quic.ts";

const HOST = "127.0.0.1";
/** RFC 9000 section 8.1. */
const FACTOR = 3;
const flights = await firstFlights(48);
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Long enough for the first repetition, which comes after a second. */
const measure = (scene: HandshakeScene) => measureHandshake({ ...scene, idleTimeoutMs: 1_500 });

// All of it is waiting, so it waits at once.
const [floods, [own, longest, repeated], [version, stray]] = await Promise.all([
  Promise.all([1, 3, 5, 16].map((chain) => measure({ chain, datagrams: flights }))),
  Promise.all([
    measure({ datagrams: flights.slice(0, 1) }),
    measure({ chain: 16, datagrams: flights.slice(1, 2) }),
    measure({ datagrams: Array.from({ length: 20 }, () => flights[2]!) }),
  ]),
  Promise.all([
    measure({ datagrams: [otherVersion(flights[0]!)] }),
    measure({ datagrams: strays(flights[0]!) }),
  ]),
]);

Deno.test("`listenQuic()` sends a flood of forged first datagrams less than three times its bytes, whatever its certificate", () => {
  for (const { bytesIn, bytesOut, retries, amplification } of floods) {
    assertEquals([bytesIn, retries], [48 * 1_200, 0]);
    assert(amplification <= FACTOR, `${amplification}`);
    // Each was answered: nothing was lost on the way, or this would measure nothing.
    assert(bytesOut > bytesIn, `${bytesOut} of ${bytesIn}`);
  }
});

Deno.test("`listenQuic()` begins nothing beyond three times a lone first datagram, and repeats of it bring no more", () => {
  for (const { bytesIn, bytesOut, lastOut } of [own, longest]) {
    // The runtime begins its last datagram when anything is left of the budget, so up to one datagram goes beyond it.
    assertLess(bytesOut - lastOut, FACTOR * bytesIn);
    assertLess(bytesOut, (FACTOR + 1) * bytesIn);
    assert(bytesOut >= 2 * bytesIn, "it did repeat itself");
  }
  assert(repeated.amplification < 1, `${repeated.amplification}`);
});

Deno.test("`listenQuic()` answers other versions in fewer bytes, and what is no first datagram not at all", () => {
  assert(version.bytesOut > 0 && version.amplification < 0.1, `${version.amplification}`);
  assertEquals(stray.bytesOut, 0);
});

/** A listener, and a path to it that takes `delayMs` each way. */
async function farListener(delayMs: number) {
  const { certPem, keyPem, pin } = await createDevelopmentCertificate();
  const accepted: Connection[] = [];
  const listener = listenQuic({
    host: HOST,
    port: 0,
    cert: certPem,
    key: keyPem,
    onConnection: (connection) => accepted.push(connection),
  });
  const port = Number(listener.address.split(":").at(-1));
  const open = () => Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
  const [near, far] = [open(), open()];
  let client: Deno.Addr | undefined;
  let closed = false;
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const later = (send: () => Promise<unknown>) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (!closed) send().catch(() => {});
    }, delayMs);
    timers.add(timer);
  };
  const server = { transport: "udp", hostname: HOST, port } as const;
  const carrying = Promise.all([
    (async () => {
      for await (const [bytes, from] of near) {
        client = from;
        later(() => far.send(bytes, server));
      }
    })(),
    (async () => {
      for await (const [bytes] of far) later(() => near.send(bytes, client!));
    })(),
  ]);
  return {
    port,
    pin,
    accepted,
    path: (near.addr as Deno.NetAddr).port,
    close: async () => {
      for (const connection of accepted) connection.close(0, "");
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      near.close();
      far.close();
      await carrying;
      listener.close();
      await sleep(1);
    },
  };
}

Deno.test("`listenQuic()` takes a peer whose handshake is slow, also while forged ones hold every slow place", async () => {
  const far = await farListener(HANDSHAKE_PATIENCE_MS * 0.6);
  const forger = Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
  try {
    const { pin } = far;
    const server = { transport: "udp", hostname: HOST, port: far.port } as const;
    for (const flight of flights.slice(0, MAX_SLOW_HANDSHAKES)) await forger.send(flight, server);
    await sleep(HANDSHAKE_PATIENCE_MS * 1.2);
    const late = await connectQuic({ host: HOST, port: far.path, pin });
    for (let i = 0; i < 400 && far.accepted.length === 0; i++) await sleep(10);
    assertEquals(far.accepted.length, 1);
    late.close(0, "");
  } finally {
    forger.close();
    await far.close();
  }
});
