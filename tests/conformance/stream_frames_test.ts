// Streams of a real QUIC connection, raw at one end: what the transport writes is what docs/PROTOCOL.md 3.1 says, and it reads the same.

import { assertEquals } from "@std/assert";
import { ALPN } from "../../protocol/limits.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { createDevelopmentCertificate } from "../../transport/certificate.ts";
import { listenQuic } from "../../transport/quic.ts";
import { concat } from "./control.ts";
import { readDirection, writeFrame } from "./stream_frames.ts";

const HOST = "127.0.0.1";
const certificate = await createDevelopmentCertificate();

/** What the transport's end reported. */
interface Heard {
  readonly data: number[];
  ended: boolean;
  reset: number | undefined;
}

/** Opens one raw stream, lets `act` use the transport's end of it once `opening` has come, and reads what that end wrote. */
async function exchange(
  opening: readonly Uint8Array[],
  act: (stream: Stream) => void,
): Promise<{ written: Uint8Array; heard: Heard }> {
  const heard: Heard = { data: [], ended: false, reset: undefined };
  const accepted = Promise.withResolvers<Connection>();
  const listener = listenQuic({
    host: HOST,
    port: 0,
    cert: certificate.certPem,
    key: certificate.keyPem,
    onConnection: (connection) => {
      accepted.resolve(connection);
      connection.start({
        handleDatagram: () => {},
        handleStream: (stream) => {
          stream.setHandler({
            handleData: (bytes) => heard.data.push(...bytes),
            handleEnd: () => {
              heard.ended = true;
            },
            handleReset: (code) => {
              heard.reset = code;
            },
            handleWritable: () => {},
          });
          act(stream);
        },
        handleClosed: () => {},
      });
    },
  });
  const endpoint = new Deno.QuicEndpoint({ hostname: HOST, port: 0 });
  const options = {
    hostname: HOST,
    port: Number(listener.address.split(":").at(-1)),
    alpnProtocols: [ALPN],
    endpoint,
    serverCertificateHashes: [{
      algorithm: "sha-256",
      value: Uint8Array.fromHex(certificate.pin),
    }],
  };
  const connection = await Deno.connectQuic(options);
  try {
    const stream = await connection.createBidirectionalStream();
    const writer = stream.writable.getWriter();
    for (const bytes of opening) await writer.write(bytes);
    const parts: Uint8Array[] = [];
    const reader = stream.readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
    }
    await writer.close().catch(() => {});
    return { written: concat(parts), heard };
  } finally {
    connection.close({ closeCode: 0, reason: "" });
    (await accepted.promise).close(0, "");
    listener.close();
    endpoint.close();
  }
}

const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => i * 7 & 0xff);

Deno.test("a stream of the transport is the frames of the page, when both directions end", async () => {
  const long = pattern(200_000);
  const { written, heard } = await exchange(
    [writeFrame(pattern(300)), writeFrame(pattern(1)), writeFrame("end")],
    (stream) => {
      stream.write(long.slice());
      stream.write(Uint8Array.of(9));
      stream.end();
    },
  );
  const direction = readDirection(written);
  assertEquals(direction.ended, true);
  assertEquals(direction.reset, undefined);
  assertEquals(direction.data.length, long.length + 1);
  assertEquals(direction.data.slice(0, -1), long);
  assertEquals(heard, { data: [...pattern(300), ...pattern(1)], ended: true, reset: undefined });
});

Deno.test("a stream of the transport is the frames of the page, when its end resets it", async () => {
  const { written } = await exchange([writeFrame(pattern(3))], (stream) => {
    stream.write(pattern(5));
    stream.reset(70);
  });
  assertEquals(readDirection(written).reset, 70);
});

Deno.test("the transport resets a stream with the fault's code, when frames break a rule of the page", async () => {
  const cases: [number[], number][] = [
    [[0x80, 0], 3],
    [[0x81, 0x80, 0x04], 4],
    [[0, 2], 5],
    [[0, 0, 1, 5], 6],
    [[0, 0, 0, 0], 6],
    [[0, 1, 0, 0, 0, 0x40], 4],
  ];
  for (const [bytes, code] of cases) {
    const { written, heard } = await exchange([Uint8Array.from(bytes)], () => {});
    assertEquals(readDirection(written).reset, code, bytes.join());
    assertEquals(heard.reset, code, bytes.join());
  }
});

Deno.test("the transport hears the code of a reset, when it comes as the page says", async () => {
  const { heard } = await exchange([writeFrame(pattern(2)), writeFrame(12_345)], () => {});
  assertEquals(heard.reset, 12_345);
});
