// What the runtime holds of QUIC streams, measured from outside: the sum of memory rests on these figures, and no setting of the runtime
// changes them. A program of its own listens, so that nothing else grows beside it.

import { assert, assertEquals } from "@std/assert";
import { UNACKED_CONNECTION_BYTES, UNREAD_STREAM_BYTES } from "../../protocol/limits.ts";
import { connectQuic, listenQuic } from "../../transport/quic.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { createDevelopmentCertificate } from "../../transport/certificate.ts";

/** Far more than anything here takes: machines are slow at times. */
const GIVE_UP_MS = 20_000;
const STREAMS = 24;
const ROUNDS = 5;
const certificate = await createDevelopmentCertificate();
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean, what: string): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > GIVE_UP_MS) throw new Error(`never came: ${what}`);
    await sleep(5);
  }
}

/** Main memory of a process, bytes. */
function residentBytes(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1024;
}

/** Waits until `read` has stood still for a while; what it is then. */
async function settled(read: () => number): Promise<number> {
  let last = read();
  for (let still = 0; still < 10;) {
    await sleep(50);
    const now = read();
    still = Math.abs(now - last) < 65_536 ? still + 1 : 0;
    last = now;
  }
  return last;
}

const IGNORED = { handleDatagram() {}, handleClosed() {}, handleStream() {} };
const QUIET = { handleData() {}, handleEnd() {}, handleReset() {}, handleWritable() {} };

/** The head of every program: the transport, and handlers that do nothing. */
const HEAD = `
  import { connectQuic, listenQuic } from ${
  JSON.stringify(new URL("../../transport/quic.ts", import.meta.url).href)
};
  import { promptCollection } from ${
  JSON.stringify(new URL("../../driver/collect_prompt.ts", import.meta.url).href)
};
  const { cert, key, pin, port } = JSON.parse(Deno.args[0]);
  const IGNORED = { handleDatagram() {}, handleClosed() {}, handleStream() {} };
  const QUIET = { handleData() {}, handleEnd() {}, handleReset() {}, handleWritable() {} };
`;

/** A program of its own, and what it said. */
class Program {
  readonly #child: Deno.ChildProcess;
  readonly #listening: Promise<void>;
  said = "";

  constructor(text: string, port = 0) {
    const { certPem: cert, keyPem: key, pin } = certificate;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--quiet",
        "--config",
        new URL("../../deno.json", import.meta.url).pathname,
        `data:application/typescript,${encodeURIComponent(HEAD + text)}`,
        JSON.stringify({ cert, key, pin, port }),
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#listening = this.#child.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({ write: (text) => void (this.said += text) }),
    );
  }

  /** How often it said a word. */
  count(word: string): number {
    return this.said.split(word).length - 1;
  }

  /** The port in its first line. */
  async port(): Promise<number> {
    await until(() => this.said.includes("\n"), "the program listens");
    return Number(/:(\d+)\n/.exec(this.said)![1]);
  }

  get residentBytes(): number {
    return residentBytes(this.#child.pid);
  }

  stop(): void {
    this.#child.kill("SIGSTOP");
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#listening;
  }
}

Deno.test("the runtime holds no more of streams that nobody reads than the sum of memory says, and most of it", async () => {
  const server = new Program(`
    const { address } = listenQuic({ host: "127.0.0.1", port: 0, cert, key, onConnection(connection) {
      connection.start({ ...IGNORED, handleStream(stream) {
        stream.pause(true);
        stream.setHandler(QUIET);
        console.log("stream");
      } });
    } });
    console.log(address);
  `);
  try {
    const port = await server.port();
    const connection = await connectQuic({ host: "127.0.0.1", port, pin: certificate.pin });
    connection.start(IGNORED);
    const streams: Stream[] = Array.from({ length: STREAMS }, () => connection.openStream());
    for (const stream of streams) {
      stream.setHandler(QUIET);
      stream.write(new Uint8Array(1));
    }
    await until(() => server.count("stream") === STREAMS, "all streams are there");
    const before = await settled(() => server.residentBytes);
    const piece = new Uint8Array(65_536);
    for (const stream of streams) for (let i = 0; i < 32; i++) stream.write(piece);
    await settled(() => streams.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0));
    const grown = await settled(() => server.residentBytes) - before;
    for (const { bufferedBytes } of streams) assert(bufferedBytes > 0, "the window ended it");
    const summed = STREAMS * UNREAD_STREAM_BYTES;
    assert(grown <= summed, `${grown} of ${summed}`);
    assert(grown >= 0.75 * summed, `${grown} of ${summed}`);
    connection.close(0, "");
  } finally {
    await server.end();
  }
});

Deno.test("the runtime takes no more of what a peer does not acknowledge than the sum of memory says, and most of it", async () => {
  const server = new Program(`
    const streams = [];
    const piece = new Uint8Array(65_536);
    const { address } = listenQuic({ host: "127.0.0.1", port: 0, cert, key, onConnection(connection) {
      connection.start({ ...IGNORED, handleStream(stream) {
        stream.setHandler(QUIET);
        streams.push(stream);
        console.log("stream");
      } });
    } });
    console.log(address);
    // The client has stopped by then.
    setTimeout(() => {
      for (const stream of streams) for (let i = 0; i < 32; i++) stream.write(piece);
      setTimeout(() => {
        const left = streams.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0);
        console.log("taken=" + (32 * piece.length * streams.length - left) + ";");
      }, 1_000);
    }, 3_000);
  `);
  let client: Program | undefined;
  try {
    client = new Program(
      `
      const connection = await connectQuic({ host: "127.0.0.1", port, pin });
      connection.start(IGNORED);
      for (let i = 0; i < 16; i++) {
        const stream = connection.openStream();
        stream.setHandler(QUIET);
        stream.write(new Uint8Array(1));
      }
      setInterval(() => {}, 1_000);
    `,
      await server.port(),
    );
    await until(() => server.count("stream") === 16, "all streams are there");
    client.stop();
    assertEquals(server.count("taken"), 0);
    await until(() => server.said.includes(";"), "the server has written");
    // Counted, not measured: copies on the way to the runtime are garbage that the resident size still has.
    const taken = Number(/taken=(\d+);/.exec(server.said)![1]);
    assert(
      taken <= UNACKED_CONNECTION_BYTES && taken >= 0.9 * UNACKED_CONNECTION_BYTES,
      `${taken}`,
    );
  } finally {
    await client?.end();
    await server.end();
  }
});

for (const closer of ["server", "client"] as const) {
  Deno.test(`the runtime gives back what it held of unread streams, when the ${closer} ends their connection`, async () => {
    const server = new Program(`
      const { address } = listenQuic({ host: "127.0.0.1", port: 0, cert, key, onConnection(connection) {
        let streams = 0;
        // What a peer has ended itself the runtime keeps until it collects: once to find what is over, once to free what that held.
        const handleClosed = async () => {
          for (let i = 0; i < 3 && "${closer}" === "client"; i++) {
            await new Promise((resolve) => setTimeout(resolve, 150));
            promptCollection();
          }
          console.log("over");
        };
        connection.start({ ...IGNORED, handleClosed, handleStream(stream) {
          stream.pause(true);
          stream.setHandler(QUIET);
          console.log("stream");
          streams += 1;
          // The last one comes when the others are full.
          if (streams > ${STREAMS} && "${closer}" === "server") connection.close(74, "");
        } });
      } });
      console.log(address);
    `);
    try {
      const port = await server.port();
      const resident: number[] = [];
      for (let round = 1; round <= ROUNDS; round++) {
        const connection = await connectQuic({ host: "127.0.0.1", port, pin: certificate.pin });
        let isOver = false;
        connection.start({ ...IGNORED, handleClosed: () => isOver = true });
        const piece = new Uint8Array(65_536);
        const streams = Array.from({ length: STREAMS }, () => connection.openStream());
        for (const stream of streams) {
          stream.setHandler(QUIET);
          for (let i = 0; i < 32; i++) stream.write(piece);
        }
        await settled(() => streams.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0));
        const last = connection.openStream();
        last.setHandler(QUIET);
        last.write(new Uint8Array(1));
        await until(() => server.count("stream") === round * (STREAMS + 1), "all are there");
        if (closer === "client") connection.close(0, "");
        await until(() => isOver, "it is over");
        await until(() => server.count("over") === round, "it is over at the other end, too");
        resident.push(await settled(() => server.residentBytes));
      }
      // Freed memory stays with the process, to be used again.
      const grown = resident.at(-1)! - resident[0]!;
      const held = (ROUNDS - 1) * STREAMS * 1_250_000;
      assert(grown < 0.5 * held, `${grown} of ${held}`);
    } finally {
      await server.end();
    }
  });
}

Deno.test("`listenQuic()` lets a peer have as many streams open as it is told, and further ones wait for the end of one", async () => {
  const most = 3;
  const accepted: Connection[] = [];
  const streams: Stream[] = [];
  const listener = listenQuic({
    host: "127.0.0.1",
    port: 0,
    cert: certificate.certPem,
    key: certificate.keyPem,
    maxStreams: most,
    onConnection: (connection) => {
      accepted.push(connection);
      connection.start({
        ...IGNORED,
        handleStream: (stream) => {
          streams.push(stream);
          stream.setHandler({ ...QUIET, handleEnd: () => stream.end() });
        },
      });
    },
  });
  const port = Number(listener.address.split(":").at(-1));
  const connection = await connectQuic({ host: "127.0.0.1", port, pin: certificate.pin });
  connection.start(IGNORED);
  const opened = Array.from({ length: most + 2 }, () => connection.openStream());
  for (const stream of opened) {
    stream.setHandler(QUIET);
    stream.write(new Uint8Array(1));
  }
  await until(() => streams.length === most, "as many as are allowed");
  await sleep(300);
  assertEquals(streams.length, most);
  opened[0]!.end();
  await until(() => streams.length === most + 1, "the next, when one has ended");
  await sleep(100);
  assertEquals(streams.length, most + 1);
  connection.close(0, "");
  await until(() => accepted.length === 1, "it was one connection");
  listener.close();
  await sleep(1);
});
