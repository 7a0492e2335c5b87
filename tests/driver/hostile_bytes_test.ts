// Hostile bytes thrown at live cores on virtual time: no exception, no state change that a valid message could not make, counted drops, and
// everyone else served as before.

import { assert, assertEquals } from "@std/assert";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import {
  decodeToDriver,
  decodeToEngine,
  encodeToDriver,
  encodeToEngine,
} from "../../protocol/engine_codec.ts";
import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";
import { MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";
import { disagreements } from "../support/agreement.ts";
import { TO_DRIVER_SAMPLES, TO_ENGINE_SAMPLES } from "../support/engine_link_samples.ts";
import type { PairNode } from "../support/pair.ts";
import type { Sections } from "../../protocol/datagram.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import { encodeControl } from "../../protocol/control_messages.ts";
import { Prng } from "../../protocol/prng.ts";
import { CONTROL_SAMPLES } from "../support/control_samples.ts";
import { HookedConnection } from "../support/hooked_connection.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { bitFlipsOf, joinBytes, truncationsOf } from "../support/hostile_bytes.ts";
import { type End, HostileScene, renumbered, sequenceOf } from "../support/hostile_scene.ts";

/** Damaged datagrams handed over at one moment; with the pause after them it stays below what a peer may send. */
const BURST = 15;
const PAUSE_MS = 10;

function faultsOf(counters: { snapshot(): Record<string, number> }): number {
  return Object.entries(counters.snapshot())
    .filter(([name]) => name.startsWith("fault."))
    .reduce((sum, [, count]) => sum + count, 0);
}

/** Hands every truncation and a share of the single-bit flips of `bytes` to the owner at `end`. */
function sweep(scene: HostileScene, end: End, bytes: Uint8Array, share: number, prng: Prng): void {
  const damaged = [...truncationsOf(bytes)];
  for (const flipped of bitFlipsOf(bytes)) if (prng.nextFloat() < share) damaged.push(flipped);
  const first = sequenceOf(bytes);
  for (const [i, each] of damaged.entries()) {
    // A number of its own, or all but the first would be taken for repeats.
    scene.at(end).injectDatagram(renumbered(each, first + 2 + i) ?? each);
    if (i % BURST === BURST - 1) scene.play(PAUSE_MS);
  }
}

const WANTED: readonly ((sections: Sections) => boolean)[] = [
  ({ snapshot, voice }) => snapshot !== undefined && voice === undefined,
  ({ voice }) => voice !== undefined,
  ({ channels }) => channels.length > 0,
];

for (const end of ["server", "client"] as const) {
  Deno.test(`a joined ${end}'s core drops damaged datagrams, whatever bit or end is missing`, () => {
    for (let seed = 1; seed <= 2; seed++) {
      const scene = new HostileScene(seed);
      const { counters } = end === "server" ? scene.pair.server.core : scene.hostile.core;
      for (const wants of WANTED) {
        const before = faultsOf(counters);
        sweep(scene, end, scene.capture(end, wants), 0.15, scene.prng);
        const faults = faultsOf(counters) - before;
        assert(faults > 20, `seed ${seed}: ${faults} faults`);
        scene.reconnect();
      }
      scene.assertOthersServed(`seed ${seed}`);
      scene.assertRecovers(`seed ${seed}`);
    }
  });
}

/** Damaged bodies of one message: a few truncations, a few flips, the ends among them. */
function* damagedBodies(body: Uint8Array, count: number, prng: Prng): Generator<Uint8Array> {
  yield body.slice(0, body.length - 1);
  yield Uint8Array.of(...body, 0);
  for (let i = 0; i < count; i++) {
    if (body.length > 1) yield body.slice(0, 1 + prng.nextBelow(body.length - 1));
    const flipped = body.slice();
    const bit = i < 16 ? i % (body.length * 8) : prng.nextBelow(body.length * 8);
    flipped[bit >>> 3] = flipped[bit >>> 3]! ^ (1 << (bit & 7));
    yield flipped;
  }
}

Deno.test("a server's core survives damaged control messages before a join, while joined and when resumed", () => {
  const scene = new HostileScene(11);
  const { pair, prng } = scene;
  const { counters } = pair.server.core;
  let hook: HookedConnection;
  const connect = () =>
    new RawPeer(pair, (acceptor) => {
      hook = new HookedConnection(acceptor);
      return hook;
    });
  const states = {
    before: () => connect(),
    joined: () => connect().join(),
    resumed: () => {
      const raw = connect().join();
      const { peer, resumeSecret } = raw.accepted!;
      raw.connection.close(0, "");
      pair.run(50);
      return connect().join({ resume: { peer, secret: resumeSecret } });
    },
  };
  for (const [name, enter] of Object.entries(states)) {
    const ended = counters.get("join.refused") + faultsOf(counters);
    for (const [, message] of CONTROL_SAMPLES) {
      let raw: RawPeer | undefined;
      for (const damaged of damagedBodies(encodeControl(message), 4, prng)) {
        if (raw === undefined || !hook!.isOpen) raw = enter();
        const frame = encodeControlFrame(damaged);
        if (hook!.streams.length === 0) {
          // A stream is there with its first byte.
          raw.control.write(frame.subarray(0, 1));
          pair.run(25);
          hook!.injectBytes(frame.subarray(1));
        } else {
          hook!.injectBytes(frame);
        }
        pair.run(2);
      }
      raw?.bye();
      raw?.connection.close(0, "");
      pair.run(25);
    }
    const refused = counters.get("join.refused") + faultsOf(counters) - ended;
    assert(refused > 80, `${name}: ${refused}`);
    scene.play(60);
    scene.assertOthersServed(name);
  }
});

Deno.test("a client's core survives damaged control messages while it joins and when it is in", () => {
  const scene = new HostileScene(12);
  const { pair, prng, hostile } = scene;
  const again = (isIn: boolean) => {
    const old = scene.atClient;
    hostile.restartDriver(1);
    pair.until(
      "there again",
      () => scene.atClient !== old && scene.atClient.isOpen && (!isIn || hostile.core.isJoined),
    );
  };
  for (const isIn of [false, true]) {
    let broken = 0;
    for (const [, message] of CONTROL_SAMPLES) {
      again(isIn);
      for (const damaged of damagedBodies(encodeControl(message), 5, prng)) {
        if (!scene.atClient.isOpen || hostile.core.isJoined !== isIn) again(isIn);
        scene.atClient.injectBytes(encodeControlFrame(damaged));
        if (!scene.atClient.isOpen) broken += 1;
        pair.run(2);
      }
    }
    assert(broken > 60, `in ${isIn}: ${broken}`);
    again(true);
    scene.play(60);
    scene.assertOthersServed(`in: ${isIn}`);
  }
  scene.assertRecovers("after damaged control messages");
});

Deno.test("a server's core survives damaged channel streams, whatever bit or end is missing", () => {
  const scene = new HostileScene(13);
  const { pair, prng } = scene;
  const { core, engine } = pair.server;
  const heard: number[] = [];
  engine.onChannel = (channel) => {
    channel.onMessage = (bytes) => heard.push(bytes.length);
  };
  const message = new Uint8Array(90).map((_, i) => i);
  const good = joinBytes(
    encodePreamble(4, "script/one"),
    encodePieceHeader(60, false),
    message.subarray(0, 60),
    encodePieceHeader(30, true),
    message.subarray(60),
  );
  const raw = new RawPeer(
    pair,
    (acceptor) => new HookedConnection(acceptor, { survives: () => true }),
  ).join();
  const damaged = [...truncationsOf(good)];
  for (const flipped of bitFlipsOf(good)) if (prng.chance(0.2)) damaged.push(flipped);
  const before = faultsOf(core.counters);
  for (const bytes of damaged) {
    const stream = raw.connection.openStream();
    if (bytes.length > 0) stream.write(bytes);
    stream.end();
    // Not above the rate at which channels are opened: further ones would wait.
    pair.run(90);
  }
  pair.run(300);
  assert(faultsOf(core.counters) > before + 100);
  assert(heard.every((length) => length <= 4_096), `${heard}`);
  const last = raw.connection.openStream();
  heard.length = 0;
  last.write(good);
  pair.run(200);
  assertEquals(heard, [90], "the same peer's good stream still passes");
  raw.bye();
  scene.play(60);
  scene.assertOthersServed("streams");
});

/** Damaged bodies of an engine frame: some 80, whatever its length. */
function* damagedFrames(frame: Uint8Array, prng: Prng): Generator<Uint8Array> {
  for (let i = 0; i < 20; i++) yield frame.slice(0, prng.nextBelow(frame.length));
  for (let i = 0; i < 60; i++) {
    const flipped = frame.slice();
    // Most of the meaning lies in front; behind it are rows.
    const bit = prng.nextBelow((i & 1) === 0 ? Math.min(frame.length, 48) * 8 : frame.length * 8);
    flipped[bit >>> 3] = flipped[bit >>> 3]! ^ (1 << (bit & 7));
    yield flipped;
  }
}

/** One recorded frame's body for each kind that passed on a node's engine link. */
function recordFrames(
  scene: HostileScene,
  node: PairNode<never> | PairNode,
  way: "toEngine" | "toDriver",
) {
  const found = new Map<string, Uint8Array>();
  const buffer = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  const decode = way === "toEngine" ? decodeToEngine : decodeToDriver;
  const { tap } = scene.pair;
  scene.pair.tap = {
    connection: (...ends) => tap!.connection(...ends),
    engineBytes: (from, direction, bytes) => {
      if ((from as unknown) !== node || direction !== way) return;
      buffer.handleBytes(bytes);
      for (let frame = buffer.pollFrame(); frame !== undefined; frame = buffer.pollFrame()) {
        const copy = frame.slice();
        const decoded = decode(copy);
        assert(decoded.ok);
        const { kind } = decoded.message;
        if ((found.get(kind)?.length ?? 0) < copy.length && copy.length < 2_000) {
          found.set(kind, copy);
        }
      }
    },
  };
  scene.play(1_100);
  scene.pair.tap = tap;
  return found;
}

for (const who of ["server", "client"] as const) {
  Deno.test(`a ${who}'s core takes damaged frames of its engine for what they say, or not at all`, () => {
    const scene = new HostileScene(14);
    const { pair, prng, hostile } = scene;
    const node = (who === "server" ? pair.server : hostile) as unknown as PairNode;
    const frames = [
      ...recordFrames(scene, node, "toDriver").values(),
      ...TO_DRIVER_SAMPLES.map(encodeToDriver),
    ];
    let [taken, refused] = [0, 0];
    for (const frame of frames) {
      for (const bytes of damagedFrames(frame, prng)) {
        const decoded = decodeToDriver(bytes);
        refused += decoded.ok ? 0 : 1;
        if (!decoded.ok || decoded.message.kind === "goodbye") continue;
        // A kick is final: whom it hits does not come back.
        if (decoded.message.kind === "kick") continue;
        taken += 1;
        node.core.handleEngine(decoded.message, pair.network.now);
        node.wake();
        pair.run(1);
        if (node.core.exit !== undefined) node.restartDriver(1);
      }
    }
    assert(taken > 100 && refused > 100, `${taken} taken, ${refused} refused`);
    // What the engine itself believes was never touched: another driver hears it whole.
    node.restartDriver(1);
    pair.run(9_000);
    pair.until("all are back", () => pair.clients.every(({ core }) => core.isJoined), 30_000);
    scene.play(200);
    pair.run(6_500);
    assertEquals(disagreements(pair), []);
  });

  Deno.test(`a ${who}'s engine survives damaged frames of its driver`, () => {
    const scene = new HostileScene(15);
    const { pair, prng, hostile } = scene;
    const node = (who === "server" ? pair.server : hostile) as unknown as PairNode;
    const frames = [
      ...recordFrames(scene, node, "toEngine").values(),
      ...TO_ENGINE_SAMPLES.map(encodeToEngine),
    ];
    let [taken, refused] = [0, 0];
    for (const frame of frames) {
      for (const bytes of damagedFrames(frame, prng)) {
        const isGood = decodeToEngine(bytes).ok;
        if (isGood) taken += 1;
        else if (refused++ % 20 !== 0) continue;
        node.engine.handleBytes(encodeFrame(bytes));
        if (node.engine.wantsClose || !node.engine.isJoined) {
          node.engine.handleClosed();
          node.restartDriver(1);
          pair.until("joined", () => node.engine.isJoined, 30_000);
        }
      }
    }
    assert(taken > 60 && refused > 60, `${taken} taken, ${refused} refused`);
    if (who === "client") scene.assertOthersServed("damaged frames of one driver");
  });
}
