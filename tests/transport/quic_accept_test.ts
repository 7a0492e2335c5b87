// The door of a listener: what happens at its bounds, with connections that are made up, and with forged first datagrams over real sockets.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { firstFlights } from "../../bench/handshake.ts";
import { Forger } from "../../bench/forged_initial.ts";
import {
  HANDSHAKE_PATIENCE_MS,
  MAX_CONNECTIONS,
  MAX_HANDSHAKES,
  MAX_HANDSHAKES_PER_S,
  MAX_SLOW_HANDSHAKES,
} from "../../protocol/limits.ts";
import type { Connection } from "../../transport/connection.ts";
import { createDevelopmentCertificate } from "../../transport/certificate.ts";
import { connectQuic, listenQuic } from "../../transport/quic.ts";
import { type Handshaking, type Knocking, QuicAcceptor } from "../../transport/quic_accept.ts";
import { TransportError } from "../../transport/transport_error.ts";

const HOST = "127.0.0.1";
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Somebody at the door, and its connection once it is let in. */
class Knock implements Knocking<Knock>, Handshaking {
  readonly remoteAddr: Deno.NetAddr;
  readonly #handshake = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<Deno.QuicCloseInfo>();
  isRefused = false;
  isClosed = false;

  constructor(hostname = "192.0.2.1") {
    this.remoteAddr = { transport: "udp", hostname, port: 1 };
  }
  accept(): Knock {
    return this;
  }
  refuse(): void {
    this.isRefused = true;
  }
  get handshake(): Promise<void> {
    return this.#handshake.promise;
  }
  get closed(): Promise<Deno.QuicCloseInfo> {
    return this.#closed.promise;
  }
  close(): void {
    this.isClosed = true;
    this.#closed.resolve({ closeCode: 0, reason: "" });
    this.#handshake.reject(new Error("closed"));
  }
  complete(): void {
    this.#handshake.resolve();
  }
}

/** A door on a clock that the test moves. */
class Door {
  nowMs = 0;
  readonly acceptor = new QuicAcceptor<Knock>({ cert: "", key: "" } as never, () => this.nowMs);
  readonly #all: Promise<unknown>[] = [];
  readonly #knocks: Knock[] = [];

  knock(hostname?: string): Knock {
    const one = new Knock(hostname);
    this.#knocks.push(one);
    this.#all.push(this.acceptor.accept(one));
    return one;
  }
  knocks(count: number, hostname?: string): Knock[] {
    return Array.from({ length: count }, () => this.knock(hostname));
  }
  async end(): Promise<void> {
    this.acceptor.close();
    assert(this.#knocks.every(({ isRefused, isClosed }) => isRefused || isClosed));
    await Promise.all(this.#all);
    assertEquals(this.acceptor.pending, 0);
  }
}

Deno.test("QuicAcceptor.accept() ends the oldest handshake, when MAX_HANDSHAKES are under way and one more comes", async () => {
  const door = new Door();
  const first = door.knocks(MAX_HANDSHAKES);
  assertEquals(door.acceptor.pending, MAX_HANDSHAKES);
  assert(first.every(({ isClosed, isRefused }) => !isClosed && !isRefused));
  door.nowMs = 1_000;
  const next = door.knock();
  assertEquals(first.map(({ isClosed }) => isClosed), first.map((_, i) => i === 0));
  assertEquals([next.isClosed, next.isRefused], [false, false]);
  assertEquals(door.acceptor.pending, MAX_HANDSHAKES);
  await door.end();
});

Deno.test("QuicAcceptor.accept() ends no handshake of a smaller network, while another network's crowd comes", async () => {
  const door = new Door();
  const lone = door.knock("198.51.100.7");
  for (let i = 0; i < 4 * MAX_HANDSHAKES; i++) {
    door.nowMs += 1_000 / MAX_HANDSHAKES_PER_S;
    door.knock(`192.0.2.${i % 256}`);
  }
  assertEquals(door.acceptor.pending, MAX_HANDSHAKES);
  assert(!lone.isClosed);
  await door.end();
});

Deno.test("QuicAcceptor.accept() gives the connection of a handshake that is completed, and of no other", async () => {
  const { acceptor } = new Door();
  const good = new Knock();
  const [taken, over] = [acceptor.accept(good), new Knock()];
  good.complete();
  assertEquals(await taken, good);
  const ended = acceptor.accept(over);
  over.close();
  assertEquals(await ended, undefined);
  assertEquals(acceptor.pending, 0);
});

Deno.test("QuicAcceptor.accept() begins MAX_HANDSHAKES_PER_S and refuses the others, when more come for seconds", async () => {
  const door = new Door();
  const seconds = 4;
  const knocks: Knock[] = [];
  for (let i = 0; i < 4 * seconds * MAX_HANDSHAKES_PER_S; i++) {
    door.nowMs = i * 1_000 / (4 * MAX_HANDSHAKES_PER_S);
    knocks.push(door.knock());
  }
  const begun = knocks.filter(({ isRefused }) => !isRefused).length;
  const bound = MAX_HANDSHAKES + seconds * MAX_HANDSHAKES_PER_S;
  assert(begun <= bound && begun >= bound - 2, `${begun} of ${bound}`);
  // They are spread over the time: nobody is kept out for long.
  assert(knocks.slice(-8).some(({ isRefused }) => !isRefused));
  await door.end();
});

Deno.test("QuicAcceptor.accept() ends the oldest slow handshake, when MAX_SLOW_HANDSHAKES are slow and one more becomes so", async () => {
  const door = new Door();
  const slow = door.knocks(MAX_SLOW_HANDSHAKES);
  await sleep(HANDSHAKE_PATIENCE_MS / 2);
  const next = door.knock();
  await sleep(HANDSHAKE_PATIENCE_MS * 0.8);
  assertEquals([...slow, next].map(({ isClosed }) => isClosed), Array(9).fill(false));
  await sleep(HANDSHAKE_PATIENCE_MS * 0.5);
  assertEquals(slow.map(({ isClosed }) => isClosed), slow.map((_, i) => i === 0));
  assert(!next.isClosed);
  await door.end();
});

Deno.test("`listenQuic()` lets a joiner in at once, when forged first datagrams hold every handshake", async () => {
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
  const socket = Deno.listenDatagram({ transport: "udp", hostname: HOST, port: 0 });
  let answers = 0;
  const counting = (async () => {
    for await (const _ of socket) answers += 1;
  })();
  try {
    const forger = new Forger((await firstFlights(1))[0]!);
    for (let i = 0; i < MAX_HANDSHAKES + 40; i++) {
      await socket.send(forger.forge(i), { transport: "udp", hostname: HOST, port });
      if (i % 16 === 15) await sleep(5);
    }
    const connection = await connectQuic({ host: HOST, port, pin });
    for (let i = 0; i < 200 && accepted.length === 0; i++) await sleep(5);
    assertEquals(accepted.length, 1);
    assert(answers > MAX_HANDSHAKES, `each is answered by its own handshake: ${answers}`);
    connection.close(0, "");
  } finally {
    for (const connection of accepted) connection.close(0, "");
    listener.close();
    await sleep(20);
    socket.close();
    await counting;
  }
});

Deno.test("`listenQuic()` refuses connectors beyond `maxConnections`, and takes the next once one has gone", async () => {
  const { certPem, keyPem, pin } = await createDevelopmentCertificate();
  const options = { host: HOST, port: 0, cert: certPem, key: keyPem };
  for (const maxConnections of [0, MAX_CONNECTIONS + 1]) {
    assertThrows(() => listenQuic({ ...options, maxConnections, onConnection: () => {} }));
  }
  const accepted: Connection[] = [];
  const listener = listenQuic({
    ...options,
    maxConnections: 2,
    onConnection: (connection) => accepted.push(connection),
  });
  const port = Number(listener.address.split(":").at(-1));
  const connect = () => connectQuic({ host: HOST, port, pin });
  const mine: Connection[] = [];
  try {
    for (let i = 0; i < 2; i++) {
      mine.push(await connect());
      for (let n = 0; n < 200 && accepted.length <= i; n++) await sleep(5);
    }
    await assertRejects(connect, TransportError, "refused");
    accepted.shift()!.close(0, "");
    await sleep(5);
    mine.push(await connect());
    for (let n = 0; n < 200 && accepted.length < 2; n++) await sleep(5);
    assertEquals(accepted.length, 2);
  } finally {
    listener.close();
    for (const connection of [...mine, ...accepted]) connection.close(0, "");
    await sleep(1);
  }
});
