import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { Fault } from "../../protocol/faults.ts";
import { ALPN, MAX_APPLICATION_CODE, MAX_UNSENT_DATAGRAMS } from "../../protocol/limits.ts";
import type { Connection, Listener } from "../../transport/connection.ts";
import {
  type CertifiedKey,
  createDevelopmentCertificate,
  parsePin,
} from "../../transport/certificate.ts";
import {
  connectQuic,
  type ConnectQuicOptions,
  listenQuic,
  type ListenQuicOptions,
} from "../../transport/quic.ts";
import { TransportError, type TransportErrorCode } from "../../transport/transport_error.ts";
import { testCompliance, type TestLink } from "./compliance.ts";
import { ConnectionRecorder, patternBytes } from "./recorder.ts";

const HOST = "127.0.0.1";
/** Far more than anything here takes: machines are slow at times. */
const GIVE_UP_MS = 20_000;

const certificate: CertifiedKey = await createDevelopmentCertificate();
const other: CertifiedKey = await createDevelopmentCertificate();

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean, what: string): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > GIVE_UP_MS) throw new Error(`never came: ${what}`);
    await sleep(1);
  }
}

/** A listener on a free port of this machine, and what it accepted. */
function listen(options: Partial<ListenQuicOptions> = {}) {
  const accepted: Connection[] = [];
  const listener = listenQuic({
    host: HOST,
    port: 0,
    cert: certificate.certPem,
    key: certificate.keyPem,
    onConnection: (connection) => accepted.push(connection),
    ...options,
  });
  return { listener, accepted, port: portOf(listener) };
}

const portOf = (listener: Listener) => Number(listener.address.split(":").at(-1));

async function openQuic(): Promise<TestLink> {
  const { listener, accepted, port } = listen();
  const connector = await connectQuic({ host: HOST, port, pin: certificate.pin });
  await until(() => accepted.length === 1, "the connection is accepted");
  const acceptor = accepted[0]!;
  return {
    connector,
    acceptor,
    until,
    rest: () => sleep(40),
    dispose: async () => {
      connector.close(0, "");
      acceptor.close(0, "");
      listener.close();
      await sleep(1);
    },
  };
}

testCompliance("quic", openQuic);

/** Connects, expecting a failure of a kind; gives its message. */
async function failure(
  options: Partial<ConnectQuicOptions> & { readonly port: number },
  code: TransportErrorCode,
): Promise<string> {
  const error = await assertRejects(
    () => connectQuic({ host: HOST, ...options }),
    TransportError,
  );
  assertEquals(error.code, code);
  return error.message;
}

Deno.test("`connectQuic()` takes the pinned certificate, another one's pin is refused", async () => {
  const { listener, accepted, port } = listen();
  try {
    const upper = certificate.pin.toUpperCase().replace(/..(?!$)/g, "$&:");
    const connection = await connectQuic({ host: HOST, port, pin: upper });
    assertEquals(connection.channelBinding, parsePin(certificate.pin));
    await until(() => accepted.length === 1, "it is accepted");
    assertEquals(accepted[0]!.channelBinding, parsePin(certificate.pin));
    assertMatch(connection.label, /^127\.0\.0\.\*:\d+$/);
    connection.close(0, "");
    assertMatch(await failure({ port, pin: other.pin }, "pin-mismatch"), /does not have the pin/);
    assertMatch(await failure({ port, pin: "abc" }, "pin-mismatch"), /64 hex digits/);
    await until(() => accepted.length === 1, "nobody else was accepted");
  } finally {
    accepted[0]?.close(0, "");
    listener.close();
    await sleep(1);
  }
});

Deno.test("`listenQuic()` works with a pinned certificate of 400 days", async () => {
  const lasting = await createDevelopmentCertificate({ days: 400 });
  const { listener, port } = listen({
    cert: lasting.certPem,
    key: lasting.keyPem,
    onConnection: (connection) => connection.close(4, "seen"),
  });
  try {
    const near = new ConnectionRecorder(
      await connectQuic({ host: HOST, port, pin: lasting.pin }),
    ).start();
    await until(() => near.closed !== undefined, "the acceptor closes");
    assertEquals(near.closed, { code: 4, reason: "seen", by: "remote" });
  } finally {
    listener.close();
    await sleep(20);
  }
});

Deno.test("`connectQuic()` by authority checks name and issuer, and knows no channel binding of its own", async () => {
  const { listener, accepted, port } = listen();
  try {
    const caCerts = [certificate.certPem];
    const first = await connectQuic({ host: HOST, port, caCerts });
    assertEquals(first.channelBinding, new Uint8Array(0));
    const expectedBinding = parsePin(certificate.pin)!;
    const second = await connectQuic({
      host: HOST,
      port,
      caCerts,
      serverName: "localhost",
      expectedBinding,
    });
    assertEquals(second.channelBinding, expectedBinding);
    assertMatch(await failure({ port }, "untrusted"), /give its pin/);
    assertMatch(
      await failure({ port, caCerts: [other.certPem] }, "untrusted"),
      /certificate of its authority/,
    );
    assertMatch(
      await failure({ port, caCerts, serverName: "elsewhere.example" }, "untrusted"),
      /the name it is for/,
    );
    first.close(0, "");
    second.close(0, "");
    await until(() => accepted.length === 2, "both were accepted");
  } finally {
    for (const connection of accepted) connection.close(0, "");
    listener.close();
    await sleep(1);
  }
});

Deno.test("`connectQuic()` says when the other end speaks another protocol", async () => {
  const { listener, port } = listen({ alpn: "other/1" });
  try {
    const message = await failure({ port, pin: certificate.pin }, "wrong-protocol");
    assertMatch(message, /does not speak syncra\/1/);
  } finally {
    listener.close();
    await sleep(1);
  }
});

Deno.test("`connectQuic()` says when nobody answers, and when a name has no address", async () => {
  const { listener, port } = listen();
  listener.close();
  const started = performance.now();
  const message = await failure(
    { port, pin: certificate.pin, timeoutMs: 100, idleTimeoutMs: 100 },
    "timed-out",
  );
  assertMatch(message, /did not answer in time: check that its driver runs/);
  const unknown = await failure({ host: "nowhere.invalid", port }, "unknown-host");
  assertMatch(unknown, /the server's name has no address/);
  // The runtime gives up its attempt three seconds after it began; the sanitizers look for it.
  await sleep(3_200 - (performance.now() - started));
});

Deno.test("`listenQuic()` says when the port is taken, the address foreign, the certificate unusable", async () => {
  const { listener, port } = listen();
  const fails = (options: Partial<ListenQuicOptions>, code: TransportErrorCode, text: RegExp) => {
    const error = assertThrows(() => listen(options), TransportError) as TransportError;
    assertEquals(error.code, code);
    assertMatch(error.message, text);
  };
  fails({ port }, "address-in-use", /is in use: stop the program/);
  fails({ host: "192.0.2.77" }, "bad-address", /not an address of this machine/);
  fails({ host: "nowhere.invalid" }, "unknown-host", /has no address/);
  fails({ cert: "nothing" }, "bad-certificate", /no certificate found/);
  fails({ key: "nothing" }, "bad-certificate", /cannot be used/);
  fails({ key: other.keyPem }, "bad-certificate", /cannot be used/);
  listener.close();
  await sleep(1);
});

Deno.test("`Listener.close()` stops accepting and lets open connections go on", async () => {
  const { listener, accepted, port } = listen();
  const near = new ConnectionRecorder(
    await connectQuic({ host: HOST, port, pin: certificate.pin }),
  ).start();
  await until(() => accepted.length === 1, "it is accepted");
  const far = new ConnectionRecorder(accepted[0]!).start();
  listener.close();
  listener.close();
  const stream = near.open();
  stream.write(patternBytes(0, 100_000));
  stream.end();
  await until(() => far.streams[0]?.ended === true, "the connection goes on");
  far.close(2, "done");
  await until(
    () => near.closed !== undefined,
    "the end is heard, though the socket closed with it",
  );
  assertEquals(near.closed, { code: 2, reason: "done", by: "remote" });
  await sleep(1);
});

Deno.test("`sendDatagram()` drops what the runtime cannot take at once, and nothing goes wrong", async () => {
  const { listener, accepted, port } = listen();
  const near = new ConnectionRecorder(
    await connectQuic({ host: HOST, port, pin: certificate.pin }),
  ).start();
  await until(() => accepted.length === 1, "it is accepted");
  const far = new ConnectionRecorder(accepted[0]!).start();
  const taken = Array.from({ length: 5_000 }, () => near.send(new Uint8Array(1_000)));
  const count = taken.filter((one) => one).length;
  assertEquals(count, MAX_UNSENT_DATAGRAMS);
  await until(() => near.send(new Uint8Array([1])), "there is room again");
  await until(() => far.datagrams.length > 0, "some arrive");
  // Ends amid datagrams and streams under way: no promise of the runtime may be left to fail unheard.
  for (let i = 0; i < 500; i++) near.send(new Uint8Array(1_000));
  for (let i = 0; i < 20; i++) near.open().write(patternBytes(0, 50_000));
  near.close(0, "");
  await until(() => far.closed !== undefined, "the end is heard");
  listener.close();
  await sleep(1);
});

/** A connection made with the runtime alone, as a driver in another language or a hostile peer would have it. */
async function rawPeer(port: number): Promise<Deno.QuicConn> {
  const options = {
    hostname: HOST,
    port,
    alpnProtocols: [ALPN],
    serverCertificateHashes: [{ algorithm: "sha-256", value: parsePin(certificate.pin)! }],
  };
  const conn = await Deno.connectQuic(options as Deno.ConnectQuicOptions<false>);
  conn.closed.catch(() => {});
  return conn;
}

Deno.test("a foreign peer's streams are read by the rules of the protocol, and broken ones are reset", async () => {
  const { listener, accepted, port } = listen();
  const conn = await rawPeer(port);
  await until(() => accepted.length === 1, "it is accepted");
  const far = new ConnectionRecorder(accepted[0]!).start();
  const cases: [name: string, bytes: number[], data: number, result: "end" | number][] = [
    ["data and end", [2, 7, 7, 1, 7, 0, 0], 3, "end"],
    ["reset", [1, 7, 0, 1, 5, 0, 0, 0], 1, 5],
    ["reset after end", [0, 0, 0, 1, 6, 0, 0, 0], 0, 6],
    ["cut off within a frame", [3, 7], 1, 0],
    ["cut off between frames", [1, 7], 1, 0],
    ["too long a frame", [0x81, 0x80, 4], 0, Fault.OutOfRange],
    ["a varint that is too long", [0x81, 0], 0, Fault.NonCanonical],
    ["data after the end", [0, 0, 1, 7], 0, Fault.Unexpected],
    ["unknown control frame", [0, 2], 0, Fault.UnknownKind],
  ];
  for (const [name, bytes, data, result] of cases) {
    const before = far.streams.length;
    const stream = await conn.createBidirectionalStream();
    const writer = stream.writable.getWriter();
    await writer.write(new Uint8Array(bytes));
    await writer.close().catch(() => {});
    const there = () => far.streams[before];
    await until(() => there()?.ended === true || there()?.resetCode !== undefined, name);
    if (result !== "end") await until(() => there()!.resetCode !== undefined, name);
    assertEquals([there()!.received, there()!.resetCode ?? "end"], [data, result], name);
    // The acceptor finishes its own direction; over a broken rule it says which.
    if (result === "end") there()!.end();
    const answer: number[] = [];
    try {
      for await (const chunk of stream.readable) answer.push(...chunk);
    } catch {
      // Refused rather than finished: just as good.
    }
    const fault = result === "end" || result < Fault.Truncated || bytes.length === 8;
    assertEquals(answer, result === "end" ? [0, 0] : fault ? [] : [0, 1, result, 0, 0, 0], name);
  }
  // Unidirectional streams are not for this protocol.
  await assertRejects(() => conn.createUnidirectionalStream(), RangeError);
  conn.close({ closeCode: 2 ** 40, reason: "x".repeat(1_000) });
  await until(() => far.closed !== undefined, "the end is heard");
  assertEquals(far.closed, { code: MAX_APPLICATION_CODE, reason: "x".repeat(256), by: "remote" });
  listener.close();
  conn.endpoint.close();
  await sleep(1);
});

Deno.test("keep-alive holds an idle connection, and a killed peer is lost after the idle time-out", async () => {
  // The peer is a process of its own: only a process can die without a word.
  const { listener, accepted, port } = listen({ keepAliveMs: 100, idleTimeoutMs: 1_000 });
  const program = `
    import { connectQuic } from ${
    JSON.stringify(new URL("../../transport/quic.ts", import.meta.url).href)
  };
    const connection = await connectQuic({ host: "${HOST}", port: ${port}, pin: "${certificate.pin}" });
    connection.start({
      handleDatagram() {}, handleStream() {}, handleClosed() {},
    });
    setInterval(() => {}, 1_000);
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--config",
      new URL("../../deno.json", import.meta.url).pathname,
      `--allow-net=${HOST}:${port}`,
      `data:application/typescript,${encodeURIComponent(program)}`,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
    clearEnv: true,
    env: { HOME: Deno.env.get("HOME") ?? "/", DENO_DIR: Deno.env.get("DENO_DIR") ?? "" },
  }).spawn();
  try {
    await until(() => accepted.length === 1, "the child connects");
    const far = new ConnectionRecorder(accepted[0]!).start();
    await sleep(1_500);
    assertEquals(far.closed, undefined);
    child.kill("SIGKILL");
    await until(() => far.closed !== undefined, "the loss is noticed");
    assertEquals(far.closed?.by, "lost");
    assertMatch(far.closed!.reason, /timed out/);
  } finally {
    listener.close();
    try {
      child.kill("SIGKILL");
    } catch {
      // It is dead already, as it should be.
    }
    await child.status;
  }
});
