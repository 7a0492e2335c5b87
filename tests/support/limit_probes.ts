// One probe for each limit that bounds a container of the product: it drives the real thing to its bound and beyond, and throws where it grows
// on. Which limits must have one is decided by the test that walks the table.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Inlet } from "../../driver/channel_inlets.ts";
import { ChannelTable } from "../../driver/channel_table.ts";
import { Counters } from "../../driver/counters.ts";
import { EngineOutbox } from "../../driver/engine_outbox.ts";
import { EngineSocket } from "../../driver/engine_socket.ts";
import { HandleTable } from "../../driver/handle_table.ts";
import { LogRing } from "../../driver/log_ring.ts";
import { PeerIds } from "../../driver/peer_ids.ts";
import { PeerLink } from "../../driver/peer_link.ts";
import { ServerEvents } from "../../driver/server_events.ts";
import { ServerState } from "../../driver/server_state.ts";
import { SettledTicks } from "../../driver/settled_ticks.ts";
import { Violations } from "../../driver/violations.ts";
import { Denials } from "../../permissions/denials.ts";
import type { Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { ManifestError } from "../../permissions/manifest_error.ts";
import { ControlFrames } from "../../protocol/control_frames.ts";
import { ALL_PEERS } from "../../protocol/engine_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import { FrameBuffer } from "../../protocol/frame_buffer.ts";
import * as limits from "../../protocol/limits.ts";
import { LogCode } from "../../protocol/log_codes.ts";
import { Reader } from "../../protocol/reader.ts";
import { SentLog } from "../../protocol/sent_log.ts";
import { PiecePlaces } from "../../replication/piece_places.ts";
import { SectionLog } from "../../replication/section_log.ts";
import { SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { TrackPool } from "../../replication/track_pool.ts";
import { ValueTrack } from "../../replication/tracks.ts";
import { createValue } from "../../replication/value.ts";
import { VersionStore } from "../../replication/version_store.ts";
import { World } from "../../replication/world.ts";
import { EntityIdAllocator } from "../../session/entity_ids.ts";
import { EventQueue } from "../../session/event_queue.ts";
import { JoinAttempt } from "../../session/join_attempt.ts";
import { encodeJoinProof } from "../../session/join_proof.ts";
import { Roster } from "../../session/roster.ts";
import { UsedNonces } from "../../session/used_nonces.ts";
import { MuxConnection } from "../../transport/mux_connection.ts";
import { SendQueue } from "../../transport/send_queue.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { driverGrants } from "./driver_world.ts";
import { manifestWith, type Probe } from "./manifest_limit_probes.ts";
import { HookedConnection } from "./hooked_connection.ts";
import { helloOf, LinkBed } from "./fake_driver.ts";
import { Pair } from "./pair.ts";
import { goneHeaders, RawPeer } from "./raw_peer.ts";

const GRANTS: Grants = driverGrants();

const count = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** A connection that takes everything and keeps nothing. */
function sink(): Connection {
  return {
    start: () => {},
    maxDatagramSize: limits.MIN_DATAGRAM_BYTES,
    sendDatagram: () => true,
    openStream: () => {
      throw new Error("no stream is opened here");
    },
    close: () => {},
    channelBinding: new Uint8Array(0),
    label: "sink",
  };
}

function linkTo(counters: Counters): PeerLink {
  const world = new World(GRANTS);
  const options = { grants: GRANTS, roleIndex: 1, peer: 1, direction: "down" } as const;
  return new PeerLink(
    {
      connection: sink(),
      sender: new SnapshotSender({ ...options, world }),
      receiver: new SnapshotReceiver({ ...options, direction: "up" }),
      channels: GRANTS.channels,
      worldEpoch: 1,
      bytesPerSecond: 100_000,
      tickHz: GRANTS.tickHz,
      counters,
      peer: 1,
      log: new LogRing({ retentionSeconds: 0, logLevel: "error" }),
    },
    64,
    0,
  );
}

/** A channel with peer 7 that nothing comes in by. */
function channelOf7(number: number) {
  const peer = { peer: 7 } as never;
  return { number, peer, inlet: new Inlet(peer, undefined, undefined), isKnown: true };
}

function outbox(): EngineOutbox {
  return new EngineOutbox(GRANTS, new HandleTable(), {
    readValue: () => 0,
    valueTime: () => 0,
    ownerOf: () => 0,
    epochOf: () => 0,
    zoneOf: () => 0,
  }, new Counters());
}

function denial(id: number) {
  return {
    door: "driver",
    rule: "role",
    peer: 1,
    subject: "component",
    id,
    fields: 0,
    handle: 0,
    count: 1,
  } as const;
}

/** A world with one joined raw peer, whose end at the server is in the probe's hand. */
function joinedRaw(seed: number): { pair: Pair; raw: RawPeer; hook: HookedConnection } {
  const pair = new Pair({ grants: GRANTS, seed, clients: 1 });
  pair.start().joinAll();
  let hook: HookedConnection | undefined;
  const raw = new RawPeer(pair, (acceptor) => hook = new HookedConnection(acceptor)).join();
  return { pair, raw, hook: hook! };
}

/** By the name of the limit. */
export const PROBES: Readonly<Record<string, Probe>> = {
  // ---- world and places
  MAX_ENTITIES: () => {
    const parse = (n: number) =>
      parseManifest(manifestWith((m) => m.world.maxEntities = n), "walk").world.maxEntities;
    assertEquals(parse(limits.MAX_ENTITIES), limits.MAX_ENTITIES);
    assertThrows(() => parse(limits.MAX_ENTITIES + 1), ManifestError);
    const ids = new EntityIdAllocator(limits.MAX_ENTITIES);
    assertEquals(ids.allocateBlock(limits.MAX_ENTITIES).length, limits.MAX_ENTITIES);
    assertEquals(ids.allocate(), undefined);
  },
  MAX_PEERS: () => {
    const parse = (n: number) => parseManifest(manifestWith((m) => m.world.maxPeers = n), "walk");
    parse(limits.MAX_PEERS);
    assertThrows(() => parse(limits.MAX_PEERS + 1), ManifestError);
    const roster = new Roster(limits.MAX_PEERS);
    for (let i = 0; i < limits.MAX_PEERS; i++) assert(roster.add(1, 0) !== undefined);
    assertEquals(roster.add(1, 0), undefined);
  },
  MAX_ENTITY_BLOCK: () => {
    const ids = new PeerIds(4 * limits.MAX_ENTITY_BLOCK, 4 * limits.MAX_ENTITY_BLOCK);
    const holder = { peer: 1, freeIds: new Set<number>() };
    for (let i = 0; i < 4; i++) ids.fill(holder, 0);
    assertEquals(holder.freeIds.size, limits.MAX_ENTITY_BLOCK);
  },

  // ---- log and denials
  MAX_LOG_ENTRIES: () => {
    const log = new LogRing({ retentionSeconds: 60, logLevel: "debug" });
    const { byteLength } = log;
    for (let i = 0; i < 3 * limits.MAX_LOG_ENTRIES; i++) {
      log.handleTimer(i * 19);
      log.write(LogCode.PeerLost, i * 19, i);
    }
    assertEquals(log.size, limits.MAX_LOG_ENTRIES);
    assertEquals(log.byteLength, byteLength);
  },
  MAX_DENIAL_KINDS: () => {
    const denials = new Denials();
    for (let i = 0; i < 3 * limits.MAX_DENIAL_KINDS; i++) denials.record(denial(i), i);
    assert(denials.totals.size <= limits.MAX_DENIAL_KINDS + 1, `${denials.totals.size}`);
    assertEquals(denials.total, 3 * limits.MAX_DENIAL_KINDS);
  },
  MAX_PENDING_DENIALS: () => {
    const denials = new Denials();
    for (let i = 0; i < 3 * limits.MAX_PENDING_DENIALS; i++) denials.record(denial(i), 0);
    assertEquals(denials.unreported, 2 * limits.MAX_PENDING_DENIALS);
  },
  MAX_PENDING_VIOLATIONS: () => {
    const violations = new Violations();
    for (let i = 0; i < 3 * limits.MAX_PENDING_VIOLATIONS; i++) {
      violations.record(
        {
          peer: i,
          handle: 0,
          componentId: 1,
          field: 0,
          check: "maxSpeed",
          action: "report",
          measured: 2,
          limit: 1,
          count: 1,
        } as unknown as Parameters<Violations["record"]>[0],
      );
    }
    assertEquals(violations.unreported, 2 * limits.MAX_PENDING_VIOLATIONS);
  },

  // ---- links
  SENT_LOG_ENTRIES: () => {
    const log = new SentLog(33);
    for (let i = 0; i < 4 * limits.SENT_LOG_ENTRIES; i++) log.add(i, i, 1_000, true);
    assert(log.inFlightBytes <= 1_000 * limits.SENT_LOG_ENTRIES, `${log.inFlightBytes}`);
  },
  MAX_LOGGED_ENTRIES: () => {
    const pool = new TrackPool();
    const log = new SectionLog(pool);
    const entity = pool.allocateEntity();
    const entries = 500;
    for (let sequence = 0; sequence < limits.SENT_LOG_ENTRIES; sequence++) {
      log.begin(sequence, sequence);
      for (let i = 0; i < entries; i++) log.add(entity, -1, sequence, -1);
    }
    const bytes = log.heldBytes;
    let held = 0;
    for (let sequence = 0; sequence < limits.SENT_LOG_ENTRIES; sequence++) {
      log.forEach(sequence, ({ tick }) => {
        assertEquals(tick, sequence, "what is held is whole");
        held += 1;
      });
    }
    assert(held <= limits.MAX_LOGGED_ENTRIES && held > limits.MAX_LOGGED_ENTRIES - entries);
    assert(bytes <= limits.MAX_LOGGED_ENTRIES * 64 + limits.SENT_LOG_ENTRIES * 64, `${bytes}`);
  },
  MAX_VERSIONS: () => {
    const shape = { laneCount: 1, blobCount: 0 };
    const store = new VersionStore(shape, 1_000_000);
    const value = createValue(shape);
    const row = store.allocateRow();
    for (let tick = 0; tick < 10 * limits.MAX_VERSIONS; tick++) store.put(row, tick, 0, 1, value);
    assertEquals(store.countOf(row), limits.MAX_VERSIONS);
  },
  MAX_SNAPSHOT_ENTRIES: () => {
    const grants = { ...GRANTS, maxEntities: 4 * limits.MAX_SNAPSHOT_ENTRIES };
    const decode = (entries: number) => {
      const receiver = new SnapshotReceiver({ grants, roleIndex: 1, direction: "up" });
      const reader = new Reader(goneHeaders(0, count(entries)));
      return { snapshot: receiver.decode(reader, 1), fault: reader.fault };
    };
    assertEquals(decode(limits.MAX_SNAPSHOT_ENTRIES).snapshot?.count, limits.MAX_SNAPSHOT_ENTRIES);
    assertEquals(decode(limits.MAX_SNAPSHOT_ENTRIES + 1).fault, Fault.OutOfRange);
  },
  MAX_PIECE_TRANSFERS: () => {
    const places = new PiecePlaces();
    let taken = 0;
    for (let i = 0; i < 3 * limits.MAX_PIECE_TRANSFERS && places.hasRoomFor(1); i++) {
      places.take(new ValueTrack(new TrackPool(), i));
      taken += 1;
    }
    assertEquals(taken, limits.MAX_PIECE_TRANSFERS);
  },
  MAX_WATCHED_GAPS: () => {
    const settled = new SettledTicks(0);
    // A gap after each: only the newest ones hold anything back.
    for (let i = 0; i < 10 * limits.MAX_WATCHED_GAPS; i++) settled.handleReceived(2 * i, i, 0);
    const newest = 10 * limits.MAX_WATCHED_GAPS - 1;
    const held = newest - settled.at(0, 1e9);
    assert(held <= limits.MAX_WATCHED_GAPS + 1, `${held}`);
  },
  MAX_WAITING_EVENTS: () => {
    const queue = new EventQueue();
    const event = { eventId: 1, from: 1, tick: 9, entities: [], waitMs: 1_000, late: "drop" };
    for (let i = 0; i < 3 * limits.MAX_WAITING_EVENTS; i++) queue.push(event as never, 0);
    assertEquals(queue.size, limits.MAX_WAITING_EVENTS);
  },
  MAX_QUEUED_VOICE_FRAMES: () => {
    const counters = new Counters();
    const link = linkTo(counters);
    const payload = new Uint8Array(100);
    const before = link.heldBytes;
    for (let i = 0; i < 3 * limits.MAX_QUEUED_VOICE_FRAMES; i++) {
      link.queueVoice({ slot: 1, sequence: i, time: 0, payload } as never, 0);
    }
    assertEquals(link.heldBytes - before, limits.MAX_QUEUED_VOICE_FRAMES * 100);
    assertEquals(counters.get("voice.dropped"), 2 * limits.MAX_QUEUED_VOICE_FRAMES);
  },
  MAX_QUEUED_MESSAGES: () => {
    const link = linkTo(new Counters());
    let taken = 0;
    for (let i = 0; i < 3 * limits.MAX_QUEUED_MESSAGES; i++) {
      if (link.queueMessage({ channelId: 2, name: "", body: new Uint8Array(10) }, 0)) taken += 1;
    }
    assertEquals(taken, limits.MAX_QUEUED_MESSAGES);
  },
  MAX_RELAYS_PER_TICK: () => {
    const event = { ...GRANTS.events[0]!, fields: [], laneCount: 0, blobCount: 0, rowBytes: 0 };
    const loud = { ...event, rateHz: 1e9, sendRoles: 1 };
    const state = new ServerState({ ...GRANTS, events: [loud] }, {
      now: () => 0,
      unixMs: () => 0,
      randomBytes: (length) => new Uint8Array(length),
      sha256: (bytes) => bytes.slice(0, 32),
      verifyEd25519: () => {},
      wake: () => {},
    });
    const events = new ServerEvents(state);
    const row = new Uint8Array(0);
    for (let i = 0; i < limits.MAX_RELAYS_PER_TICK + 100; i++) {
      events.handleEngineEvent({ kind: "event", eventId: loud.id, to: ALL_PEERS, row }, 0);
    }
    assertEquals(state.counters.get("event.dropped"), 100);
  },
  MAX_EARLY_DATAGRAMS: () => {
    const carrier = {
      sendFrame: () => {},
      sendDatagram: () => true,
      defer: (f: () => void) => f(),
    };
    const connection = new MuxConnection(
      { ...carrier, release: () => {}, maxDatagramSize: 1_200 } as never,
      { isConnector: false, label: "probe" },
    );
    for (let i = 0; i < 3 * limits.MAX_EARLY_DATAGRAMS; i++) {
      connection.handleDatagram(new Uint8Array(1));
    }
    let came = 0;
    connection.start({
      handleDatagram: () => came += 1,
      handleStream: () => {},
      handleClosed: () => {},
    });
    assertEquals(came, limits.MAX_EARLY_DATAGRAMS);
  },

  // ---- door
  MAX_HALF_JOINED: () => {
    const pair = new Pair({ grants: GRANTS, seed: 32, clients: 0 });
    pair.start();
    for (let i = 0; i < 3 * limits.MAX_HALF_JOINED; i++) {
      new RawPeer(pair);
      pair.run(1);
      assert(pair.server.core.usage.strangers <= limits.MAX_HALF_JOINED);
    }
    assertEquals(pair.server.core.usage.strangers, limits.MAX_HALF_JOINED);
  },
  MAX_BYTES_BEFORE_JOIN: () => {
    const attempt = new JoinAttempt(1_000);
    assert(attempt.handleBytes(limits.MAX_BYTES_BEFORE_JOIN));
    assert(!attempt.handleBytes(1));
  },
  MAX_USED_NONCES: () => {
    const nonces = new UsedNonces();
    const hash = (i: number) => {
      const bytes = new Uint8Array(limits.NONCE_HASH_BYTES);
      new DataView(bytes.buffer).setUint32(0, i);
      return bytes;
    };
    for (let i = 0; i < limits.MAX_USED_NONCES; i++) assertEquals(nonces.use(hash(i), 99, 1), "ok");
    assertEquals(nonces.use(hash(limits.MAX_USED_NONCES), 99, 1), "full");
    assertEquals(nonces.size, limits.MAX_USED_NONCES);
  },

  // ---- channels and streams
  MAX_OPEN_CHANNELS: () => {
    const table = new ChannelTable();
    const grant = { ...GRANTS.channels[0]!, namespace: true, maxOpen: 1_000 };
    let number = 1;
    while (number < 1_000 && !table.isFull(7, grant)) {
      table.add({ ...channelOf7(number++), grant, name: `n${number}` });
    }
    assertEquals(table.size, limits.MAX_OPEN_CHANNELS);
  },
  MAX_PLAIN_CHANNELS: () => {
    const table = new ChannelTable();
    const grant = { ...GRANTS.channels[0]!, namespace: false };
    let number = 1;
    while (number < 100 && !table.isFull(7, grant)) {
      table.add({ ...channelOf7(number++), grant, name: grant.name });
    }
    assertEquals(table.size, limits.MAX_PLAIN_CHANNELS);
  },
  MAX_CONTROL_MESSAGE_BYTES: () => {
    const frames = new ControlFrames();
    // A length of one more, as a varint of three bytes.
    const length = limits.MAX_CONTROL_MESSAGE_BYTES + 1;
    frames.handleBytes(
      Uint8Array.of(length & 0x7f | 0x80, length >> 7 & 0x7f | 0x80, length >> 14),
    );
    assertEquals(frames.pollFrame(), undefined);
    assertEquals(frames.fault, Fault.OutOfRange);
    frames.handleBytes(new Uint8Array(100_000));
    assertEquals(frames.heldBytes, 0);
  },
  MAX_CONTROL_BACKLOG_BYTES: () => {
    const { pair, raw, hook } = joinedRaw(33);
    const stream: { stuckBytes: number } & Stream = hook.streams[0]!;
    stream.stuckBytes = limits.MAX_CONTROL_BACKLOG_BYTES;
    pair.run(100);
    assertEquals(raw.closed, undefined);
    stream.stuckBytes += 1;
    pair.run(100);
    assert(raw.closed !== undefined, "who does not read is dropped");
  },
  STREAM_HIGH_WATER_BYTES: () => {
    const queue = new SendQueue();
    assert(queue.push(new Uint8Array(limits.STREAM_HIGH_WATER_BYTES)));
    assert(!queue.push(new Uint8Array(1)), "the writer is told to wait");
  },

  // ---- engine link
  MAX_ENGINE_FRAME_BYTES: () => {
    const frames = new FrameBuffer(limits.MAX_ENGINE_FRAME_BYTES);
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, limits.MAX_ENGINE_FRAME_BYTES + 1, true);
    frames.handleBytes(header);
    assertEquals(frames.fault, Fault.OutOfRange);
  },
  ENGINE_BACKLOG_BYTES: () => {
    const socket = new EngineSocket();
    const frame = new Uint8Array(limits.MAX_VOICE_FRAME_BYTES);
    let pushed = 0;
    while (socket.isWritable && pushed < 100_000) {
      const position = new Float64Array(0);
      socket.push({ kind: "voice", handle: 1, sequence: 0, time: 0, position, frame });
      pushed += 1;
    }
    assert(socket.backlogBytes < limits.ENGINE_BACKLOG_BYTES + 2 * limits.MAX_VOICE_FRAME_BYTES);
  },
  MAX_ENGINE_MESSAGES: () => {
    const box = outbox();
    for (let i = 0; i <= limits.MAX_ENGINE_MESSAGES; i++) box.push({ kind: "ping", time: i });
    assert(box.isOverfull, "its driver ends with the next tick");
    const ends = outbox();
    for (let id = 1; id <= limits.MAX_ENGINE_MESSAGES + GRANTS.maxEntities + 1; id++) {
      ends.markDespawn(id);
    }
    assert(ends.isOverfull, "entities that ended wait no less");
  },
  MAX_ENGINE_VOICE_FRAMES: () => {
    const box = outbox();
    for (let i = 0; i < 3 * limits.MAX_ENGINE_VOICE_FRAMES; i++) {
      box.pushVoice(1, { kind: "ping", time: i });
    }
    let left = 0;
    while (box.poll(1, false) !== undefined) left += 1;
    assertEquals(left, limits.MAX_ENGINE_VOICE_FRAMES);
  },
  MAX_PENDING_SIGNATURES: () => {
    const bed = new LinkBed("client");
    let asked = 0;
    bed.link.onSign = () => {
      asked += 1;
      return new Promise(() => {});
    };
    bed.connect();
    bed.say(helloOf(bed.grants, "client"));
    const bytes = encodeJoinProof({
      challenge: new Uint8Array(limits.CHALLENGE_BYTES),
      pin: new Uint8Array(limits.PIN_BYTES),
      schemaHash: Uint8Array.fromHex(bed.grants.schemaHash),
    });
    for (let request = 1; request <= 3 * limits.MAX_PENDING_SIGNATURES; request++) {
      bed.say({ kind: "sign", request, bytes });
    }
    assertEquals(asked, limits.MAX_PENDING_SIGNATURES);
  },
  MAX_PENDING_HASHES: () => {
    const bed = new LinkBed("client");
    bed.join(5);
    const refused: string[] = [];
    for (let i = 0; i < 3 * limits.MAX_PENDING_HASHES; i++) {
      bed.link.stateHash().catch((error: Error) => refused.push(error.message));
    }
    bed.flush();
    assertEquals(bed.heardOf("stateHash").length, limits.MAX_PENDING_HASHES);
  },
};
