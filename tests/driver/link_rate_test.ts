// Two links with a path between them on virtual time: what of state goes when voice goes beside it, and when the path changes.

import { assert } from "@std/assert";
import { Counters } from "../../driver/counters.ts";
import { LogRing } from "../../driver/log_ring.ts";
import { PeerLink } from "../../driver/peer_link.ts";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { MIN_PEER_BYTES_PER_S } from "../../protocol/limits.ts";
import { createInterestResult } from "../../replication/interest.ts";
import { SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { World } from "../../replication/world.ts";
import type { Connection } from "../../transport/connection.ts";
import { VoiceKind } from "../../voice/voice_section.ts";
import { createPrng } from "../support/prng.ts";
import { randomValue } from "../support/random_values.ts";
import { PLAYER, sampleGrants, TRANSFORM } from "../support/sample_grants.ts";

const HZ = 30;
const ENTITIES = 200;
const SPEAKERS = 8;

interface Scene {
  readonly budget: number;
  readonly oneWayMs: (nowMs: number) => number;
  /** Bytes a second that the way down carries; what would wait for longer than 300 ms is dropped. Left out: any. */
  readonly width?: number;
  /** Bytes of each speaker's frame in each tick. */
  readonly voiceBytes: number;
}

/** Bytes of state a second between two times, ms, while a third of the world changes in each tick. */
function stateRate(scene: Scene, fromMs: number, toMs: number): number {
  const { budget, oneWayMs, voiceBytes, width = Infinity } = scene;
  const grants = sampleGrants({ tickHz: HZ });
  const world = new World(grants);
  const prng = createPrng(3);
  const random = () => randomValue(grants.components[TRANSFORM]!, prng);
  for (let slot = 1; slot <= ENTITIES; slot++) {
    world.spawn(makeEntityId(slot, 0), 0, 1);
    world.addComponent(makeEntityId(slot, 0), TRANSFORM, random(), 1, 64);
  }
  let nowMs = 0;
  let stateBytes = 0;
  let busyMs = 0;
  const flying: { readonly at: number; readonly bytes: Uint8Array; readonly to: () => PeerLink }[] =
    [];
  const connection = (to: () => PeerLink): Connection => ({
    start: () => {},
    maxDatagramSize: 1_200,
    sendDatagram: (bytes) => {
      let at = nowMs;
      if (to() === client) {
        if (busyMs > nowMs + 300) return true;
        busyMs = Math.max(busyMs, nowMs) + bytes.length * 1000 / width;
        at = busyMs;
      }
      flying.push({ at: at + oneWayMs(nowMs), bytes: bytes.slice(), to });
      return true;
    },
    openStream: () => {
      throw new Error("no stream is opened here");
    },
    close: () => {
      throw new Error("neither end has a reason to leave");
    },
    channelBinding: new Uint8Array(0),
    label: "path",
  });
  const both = { grants, roleIndex: PLAYER, peer: 1 };
  const sender = new SnapshotSender({ ...both, world, direction: "down" });
  const common = {
    channels: [],
    worldEpoch: 1,
    bytesPerSecond: budget,
    tickHz: HZ,
    peer: 1,
    log: new LogRing(),
  };
  const server: PeerLink = new PeerLink(
    {
      ...common,
      connection: connection(() => client),
      sender,
      receiver: new SnapshotReceiver({ ...both, direction: "up" }),
      counters: new Counters(),
    },
    64,
    0,
  );
  const client: PeerLink = new PeerLink(
    {
      ...common,
      connection: connection(() => server),
      sender: new SnapshotSender({ ...both, world: new World(grants), direction: "up" }),
      receiver: new SnapshotReceiver({ ...both, direction: "down" }),
      counters: new Counters(),
    },
    64,
    0,
  );
  const write = sender.writeSection.bind(sender);
  sender.writeSection = (writer, maxBits, tick, sequence) => {
    const before = writer.bitLength;
    const isWritten = write(writer, maxBits, tick, sequence);
    if (isWritten && nowMs >= fromMs) stateBytes += (writer.bitLength - before) / 8;
    return isWritten;
  };
  const view = createInterestResult();
  view.slots = Int32Array.from({ length: ENTITIES }, (_, i) => i + 1);
  view.distanceSquared = new Float64Array(ENTITIES).fill(1);
  view.count = ENTITIES;
  let changed = 0;
  for (let tick = 2; nowMs < toMs; tick++) {
    nowMs = tick * 1000 / HZ;
    for (let i = 0; i < flying.length; i++) {
      const one = flying[i]!;
      if (one.at > nowMs) continue;
      flying.splice(i, 1);
      i -= 1;
      one.to().handleDatagram(one.bytes, nowMs);
    }
    for (let i = 0; i < ENTITIES / 3; i++) {
      changed = changed % ENTITIES + 1;
      world.write(makeEntityId(changed, 0), TRANSFORM, 3, random(), tick, tick * 64);
    }
    for (let slot = 1; slot <= SPEAKERS && voiceBytes > 0; slot++) {
      const payload = new Uint8Array(voiceBytes);
      const frame = {
        kind: VoiceKind.Opus,
        slot,
        generation: 0,
        sequence: tick & 0xffff,
        time: tick * 64,
        payload,
      };
      server.queueVoice(frame, nowMs);
    }
    sender.updateView(tick, view);
    server.sendSlot(tick * 64, nowMs, true);
    client.sendSlot(tick * 64, nowMs, true);
    world.expire(tick);
  }
  return stateBytes * 1000 / (toMs - fromMs);
}

Deno.test("a link goes on with all of its state beside eight voices, when the path gets longer for good", () => {
  for (const longMs of [35, 65, 100]) {
    const scene: Scene = {
      budget: 128_000,
      oneWayMs: (nowMs) => nowMs < 8_000 ? 10 : longMs,
      voiceBytes: 60,
    };
    const before = stateRate(scene, 4_000, 8_000);
    const after = stateRate(scene, 13_000, 17_000);
    assert(after > 0.8 * before, `${after} of ${before} B/s at ${2 * longMs} ms`);
  }
});

Deno.test("a link goes on sending state, when voices fill the path", () => {
  for (const width of [14_000, 18_000, 24_000]) {
    const scene: Scene = { budget: 128_000, oneWayMs: () => 30, width, voiceBytes: 60 };
    const rate = stateRate(scene, 10_000, 20_000);
    assert(rate > 0.3 * MIN_PEER_BYTES_PER_S, `${rate} B/s of state on ${width} B/s`);
  }
});
