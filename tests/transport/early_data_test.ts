// Data that a client sends before its handshake is complete could be recorded and sent again. A listener of ours may be sent it, and acts on
// none of it until that very handshake is complete, which a recording cannot do.

import { assert, assertEquals } from "@std/assert";
import { ALPN } from "../../protocol/limits.ts";
import { createDevelopmentCertificate } from "../../transport/certificate.ts";
import { listenQuic } from "../../transport/quic.ts";

const HOST = "127.0.0.1";
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

Deno.test("`listenQuic()` acts on nothing of a recorded first flight with early data, when it is sent again", async () => {
  const { certPem, keyPem } = await createDevelopmentCertificate();
  const heard: string[] = [];
  const listener = listenQuic({
    host: HOST,
    port: 0,
    cert: certPem,
    key: keyPem,
    idleTimeoutMs: 1_000,
    onConnection: (connection) => {
      heard.push("connection");
      connection.start({
        handleDatagram: (bytes) => heard.push(`datagram ${bytes}`),
        handleStream: () => heard.push("stream"),
        handleClosed: () => {},
      });
    },
  });
  const server = {
    transport: "udp",
    hostname: HOST,
    port: Number(listener.address.split(":").at(-1)),
  } as const;
  // A path on which everything from the client is written down.
  const open = () => Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
  const [near, far, thief] = [open(), open(), open()];
  let client: Deno.Addr | undefined;
  let recorded: Uint8Array<ArrayBuffer>[] = [];
  const carrying = Promise.all([
    (async () => {
      for await (const [bytes, from] of near) {
        client = from;
        recorded.push(bytes);
        await far.send(bytes, server);
      }
    })(),
    (async () => {
      for await (const [bytes] of far) await near.send(bytes, client!);
    })(),
  ]);
  const endpoint = new Deno.QuicEndpoint({ hostname: HOST, port: 0 });
  // The runtime's own client, since ours never sends early data.
  const connect = () =>
    Deno.connectQuic({
      hostname: HOST,
      port: (near.addr as Deno.NetAddr).port,
      serverName: "localhost",
      alpnProtocols: [ALPN],
      caCerts: [certPem],
      endpoint,
      zeroRtt: true,
    });
  try {
    for (const early of [false, true]) {
      recorded = [];
      const attempt = connect();
      assertEquals(attempt instanceof Promise, !early, "a ticket lets the second one send early");
      const conn = await attempt;
      conn.closed.catch(() => {});
      await conn.sendDatagram(Uint8Array.of(early ? 2 : 1));
      await sleep(200);
      conn.close();
      await sleep(100);
    }
    assertEquals(heard, ["connection", "datagram 1", "connection", "datagram 2"]);
    const flight = recorded.filter((bytes) => (bytes[0]! & 0x80) !== 0);
    assert(flight.length > 0 && flight[0]!.length >= 1_200, "the first flight was written down");
    for (const bytes of flight) await thief.send(bytes, server);
    await sleep(1_300);
    assertEquals(heard.length, 4);
  } finally {
    endpoint.close();
    thief.close();
    near.close();
    far.close();
    await carrying;
    listener.close();
    await sleep(1);
  }
});
