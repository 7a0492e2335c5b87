// A busy little world for hostile tests: every kind of traffic at once, a way into one client's connection at both ends, and a judge of
// whether everyone else was served as before.

import { assertEquals } from "@std/assert";
import { readHeader, readSections, type Sections, writeHeader } from "../../protocol/datagram.ts";
import { Prng } from "../../protocol/prng.ts";
import { Reader } from "../../protocol/reader.ts";
import { SUBTICKS } from "../../protocol/timeline_units.ts";
import { Writer } from "../../protocol/writer.ts";
import type { ClientCore } from "../../driver/client_core.ts";
import type { Channel } from "../../engine/channel.ts";
import type { EngineLink } from "../../engine/engine_link.ts";
import { disagreements } from "./agreement.ts";
import { avatarAt, driverGrants, poseAt } from "./driver_world.ts";
import { HookedConnection } from "./hooked_connection.ts";
import { Pair, type PairNode } from "./pair.ts";

/** Code of a close for too many faults; a sweep must outlive it. */
const FLOOD = 14;
/** An Opus packet: 20 ms, fullband, one frame. */
const OPUS = Uint8Array.of(0xf8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);

/** Which ends of a connection get bytes. */
export type End = "server" | "client";

/** See the head of this file. The first client is the one whose connection is tampered with; the others are honest and undisturbed. */
export class HostileScene {
  readonly pair: Pair;
  readonly prng: Prng;
  /** The newest hooks on the first client's connection. */
  atServer!: HookedConnection;
  atClient!: HookedConnection;
  /** Datagrams that are kept back, oldest first, while `holds` says so. */
  readonly held: { readonly end: End; readonly bytes: Uint8Array }[] = [];
  /** Keep back the next datagrams towards this end. */
  holds: End | undefined;
  /** The tampered connection outlives closes for too many faults. */
  isShielded = true;
  readonly #avatars: number[] = [];
  readonly #score: number;
  readonly #prop: number;
  readonly #channels: (Channel | undefined)[] = [];
  #step = 0;

  /** A server and three clients, joined and playing. */
  constructor(seed: number) {
    this.prng = new Prng(seed);
    const pair = new Pair({ grants: driverGrants(), seed, clients: 3 });
    this.pair = pair;
    const survives = (code: number) => this.isShielded && code === FLOOD;
    const takes = (end: End) => (bytes: Uint8Array) => {
      if (this.holds !== end) return false;
      this.held.push({ end, bytes: bytes.slice() });
      return true;
    };
    pair.tap = {
      connection: (client, connector, acceptor) => {
        if (client !== (pair.clients[0] as unknown)) return { connector, acceptor };
        this.atClient = new HookedConnection(connector, { survives, takes: takes("client") });
        this.atServer = new HookedConnection(acceptor, { survives, takes: takes("server") });
        return { connector: this.atClient, acceptor: this.atServer };
      },
      engineBytes: () => {},
    };
    pair.start().joinAll();
    for (const [i, client] of pair.clients.entries()) {
      this.#avatars.push(client.engine.spawn({ ...avatarAt(i), Name: { text: `client ${i}` } }));
    }
    this.#prop = pair.server.engine.spawn({ Prop: { at: [1, 0, 1], heldBy: 0 } });
    this.#score = pair.server.engine.spawn({ Score: { points: 7, secret: "kept" } });
    this.play(400);
  }

  /** The first client. */
  get hostile(): PairNode<ClientCore> {
    return this.pair.clients[0]!;
  }

  /** The hooked connection whose owner is at this end. */
  at(end: End): HookedConnection {
    return end === "server" ? this.atServer : this.atClient;
  }

  /** Everyone moves, talks, waves and sends telemetry for a while. */
  play(ms: number): void {
    const { pair } = this;
    pair.play(ms, 20, () => {
      this.#step += 1;
      for (const [i, { engine }] of pair.clients.entries()) {
        const avatar = this.#avatars[i]!;
        if (engine.get(avatar, "Avatar") === undefined) continue;
        engine.set(avatar, "Avatar", poseAt(i + (this.#step % 50) / 10, this.#step % 7));
        engine.sendVoice(avatar, OPUS);
        if (this.#step % 10 === 0) engine.sendEvent("Wave", { who: avatar, count: this.#step });
        if (this.#step % 5 === 0) this.#send(engine, "telemetry", i);
        engine.flush();
      }
      const { engine } = pair.server;
      const { peer } = this.hostile.engine;
      if (this.#step % 5 === 0 && peer !== undefined) this.#send(engine, "beacon", 9, peer);
      engine.set(this.#prop, "Prop", { at: [(this.#step % 30) / 10, 0, 1] });
      engine.flush();
    });
  }

  #send(engine: EngineLink, name: string, at: number, peer?: number): void {
    let channel = this.#channels[at];
    if (channel === undefined || !channel.isOpen) {
      channel = engine.openChannel(name, peer === undefined ? {} : { peer });
      this.#channels[at] = channel;
    }
    channel?.send(Uint8Array.of(this.#step & 0xff, at));
  }

  /** The next datagram towards `end` that holds what is wanted, kept back. */
  capture(end: End, wants: (sections: Sections) => boolean = () => true): Uint8Array {
    this.holds = end;
    for (let tries = 0; tries < 100; tries++) {
      this.play(20);
      const found = this.held.find(({ bytes }) => wants(sectionsOf(bytes)));
      this.held.length = 0;
      if (found === undefined) continue;
      this.holds = undefined;
      return found.bytes;
    }
    throw new Error(`no such datagram came towards the ${end}`);
  }

  /** The first client's connection breaks; it resumes its place over another. */
  reconnect(): void {
    const { pair, hostile } = this;
    const before = this.atClient;
    before.cut();
    pair.until("the first client is back", () => this.atClient !== before && hostile.core.isJoined);
    pair.run(100);
  }

  /** All play stops; what the honest clients and the server believe must then be one world. */
  assertOthersServed(what: string): void {
    this.holds = undefined;
    this.pair.run(1_500);
    const { pair } = this;
    assertEquals(pair.server.core.exit, undefined, what);
    for (const client of pair.clients.slice(1)) {
      assertEquals(client.core.isJoined, true, `${what}: an honest client is out`);
      assertEquals(client.core.exit, undefined, what);
    }
    assertEquals(disagreements(pair).filter((line) => !line.startsWith("client 0:")), [], what);
    assertEquals(
      pair.server.world.read(this.#score, "Score"),
      { points: 7, mine: 0, secret: "kept" },
      what,
    );
    for (const [i, { engine }] of pair.clients.entries()) {
      if (i > 0) assertEquals(engine.get(this.#avatars[i]!, "Name"), { text: `client ${i}` }, what);
    }
  }

  /** The first client comes back by a good connection; then everyone agrees. */
  assertRecovers(what: string): void {
    this.isShielded = false;
    this.holds = undefined;
    this.reconnect();
    this.play(300);
    this.pair.run(6_500);
    assertEquals(disagreements(this.pair), [], what);
  }
}

/** The sections of a whole datagram. */
export function sectionsOf(bytes: Uint8Array): Sections {
  const reader = new Reader(bytes);
  readHeader(reader);
  return readSections(reader)!;
}

/** A datagram with another sequence number, all else as it was; undefined when its header is none. */
export function renumbered(bytes: Uint8Array, sequence: number): Uint8Array | undefined {
  const reader = new Reader(bytes);
  const header = readHeader(reader);
  if (header === undefined) return undefined;
  const w = new Writer(1_500);
  writeHeader(w, {
    sequence,
    worldEpoch: header.worldEpoch,
    time: header.tick * SUBTICKS + header.sub,
    ack: header.ack,
  });
  w.bytes(bytes.subarray(reader.bitPosition >>> 3));
  return w.finish();
}

/** The sequence number in a datagram's header. */
export function sequenceOf(bytes: Uint8Array): number {
  return readHeader(new Reader(bytes))!.sequence;
}
