// Whom a server lets go of when memory runs short: the hostile one, not those with most to lose; and nobody loses more than a connection.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CloseCode } from "../../protocol/close_codes.ts";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import {
  CHANNEL_PIECE_BYTES,
  MAX_STREAMS_PER_PEER,
  SPARE_STREAMS,
  STREAM_STUCK_MS,
} from "../../protocol/limits.ts";
import { type Holding, whomToShed } from "../../driver/server_shed.ts";
import { reliableChannels } from "../../driver/stream_bounds.ts";
import type { Stream } from "../../transport/connection.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import { RawPeer } from "../support/raw_peer.ts";

/** Files of any peer, several at a time, large enough that the engine cannot take in all of them at once. */
const GRANTS = driverGrants({
  channels: [{
    id: 1,
    name: "files/*",
    mode: "reliable",
    send: ["all"],
    receive: ["all"],
    maxBytes: 16_777_216,
    rateHz: 4,
    maxOpen: 8,
  }],
});

const holding = (heldBytes: number, stuckStreams = 0, isDegraded = false): Holding => ({
  heldBytes,
  stuckStreams,
  isDegraded,
});

Deno.test("whomToShed() names who keeps streams stuck, then who is over its allowance and holds its share, then who holds most", () => {
  assertEquals(whomToShed([]), -1);
  assertEquals(whomToShed([holding(0)]), 0);
  assertEquals(whomToShed([holding(5), holding(9), holding(7)]), 1);
  assertEquals(whomToShed([holding(300), holding(900, 0, true), holding(700, 1)]), 2);
  assertEquals(whomToShed([holding(900, 0, true), holding(14, 1)]), 0, "it waits for its engine");
  assertEquals(whomToShed([holding(50, 4), holding(80, 1)]), 1);
  assertEquals(whomToShed([holding(100), holding(90, 0, true), holding(60)]), 1);
  assertEquals(whomToShed([holding(100), holding(10, 0, true)]), 0, "that would free nothing");
});

Deno.test("whomToShed() names nobody who holds less than another of its kind, whoever is there", () => {
  const one = fc.record({
    stuckStreams: fc.nat(2),
    isDegraded: fc.boolean(),
    heldBytes: fc.nat(1_000),
  });
  fc.assert(fc.property(fc.array(one, { minLength: 1, maxLength: 12 }), (holdings) => {
    const victim = holdings[whomToShed(holdings)]!;
    const mean = holdings.reduce((sum, { heldBytes }) => sum + heldBytes, 0) / holdings.length;
    const large = holdings.filter(({ heldBytes }) => heldBytes >= mean);
    assert(large.includes(victim), "to let go of it frees something");
    const isStuck = large.some(({ stuckStreams }) => stuckStreams > 0);
    assertEquals(victim.stuckStreams > 0, isStuck);
    for (const other of large) {
      if (other.stuckStreams > 0 !== isStuck || other.heldBytes <= victim.heldBytes) continue;
      assert(!isStuck && victim.isDegraded && !other.isDegraded, JSON.stringify(holdings));
    }
  }));
});

/** Four honest players in a world that is worth keeping. */
function honestWorld(seed: number) {
  const pair = new Pair({ grants: GRANTS, seed, clients: 4 }).start().joinAll();
  const avatars = pair.clients.map(({ engine }, i) =>
    engine.spawn({ ...avatarAt(i), Name: { text: `player ${i}` } })
  );
  for (let i = 0; i < 100; i++) {
    pair.server.engine.spawn({ Prop: { at: [i / 10, 0, 1], heldBy: 0 } });
  }
  pair.server.engine.flush();
  const play = (ms: number, each: () => void = () => {}) =>
    pair.play(ms, 20, (step) => {
      each();
      for (const [i, { engine }] of pair.clients.entries()) {
        engine.set(avatars[i]!, "Avatar", poseAt(i + (step % 50) / 10));
        engine.flush();
      }
    });
  play(500);
  const ends: string[] = [];
  for (const [i, { engine }] of pair.clients.entries()) {
    engine.onLeft = (code) => ends.push(`client ${i}: ${code}`);
  }
  return { pair, play, ends };
}

/** A joined peer that begins as many files as it may and feeds each as far as it is let. */
class Hoarder {
  readonly raw: RawPeer;
  readonly streams: Stream[] = [];
  readonly resets: number[] = [];
  readonly #sent: number[] = [];

  constructor(pair: Pair, count: number) {
    this.raw = new RawPeer(pair).join();
    for (let i = 0; i < count; i++) {
      const stream = this.raw.connection.openStream();
      stream.setHandler({
        handleData() {},
        handleEnd() {},
        handleReset: (code) => this.resets.push(code),
        handleWritable() {},
      });
      stream.write(encodePreamble(1, `files/${i}`));
      this.streams.push(stream);
      this.#sent.push(0);
      // Not faster than channels may be opened.
      pair.run(150);
    }
  }

  /** Sends more of files that never end, up to 12 MiB of each: six times of what the engine takes of one peer's together. */
  feed(): void {
    for (const [i, stream] of this.streams.entries()) {
      if (stream.bufferedBytes > 0 || this.#sent[i]! >= 12 * 2 ** 20) continue;
      this.#sent[i]! += CHANNEL_PIECE_BYTES;
      stream.write(encodePieceHeader(CHANNEL_PIECE_BYTES, false));
      stream.write(new Uint8Array(CHANNEL_PIECE_BYTES));
    }
  }
}

Deno.test("ServerCore sheds the peer that keeps its streams full, and four honest ones with more state stay as they were", () => {
  const { pair, play, ends } = honestWorld(1);
  const { core, engine } = pair.server;
  const left: number[] = [];
  engine.onPlayerLeave = (peer) => left.push(peer);
  const hoarder = new Hoarder(pair, 8);
  const { peer, resumeSecret } = hoarder.raw.accepted!;
  play(4_000 + STREAM_STUCK_MS, () => hoarder.feed());
  const waiting = hoarder.streams.filter(({ bufferedBytes }) => bufferedBytes > 0);
  assert(waiting.length >= 3, `${waiting.length} files are held up`);
  assertEquals(hoarder.resets, []);
  assertEquals(core.counters.get("peers.shed"), 0);
  assertEquals(core.shed(pair.network.now), true);
  play(1_000);
  assertEquals(hoarder.raw.closed?.code, CloseCode.Shed);
  assertEquals(core.counters.get("peers.shed"), 1);
  assertEquals(ends, [], "nobody else noticed");
  assertEquals(pair.clients.map(({ core }) => core.isJoined), [true, true, true, true]);
  pair.run(1_000);
  assertEquals(disagreements(pair), []);
  // It has lost its connection and nothing else.
  assertEquals(left, []);
  assertEquals(engine.peers.includes(peer), true);
  const again = new RawPeer(pair).join({ resume: { peer, secret: resumeSecret } });
  assertEquals(again.accepted?.resumed, true);
  assertEquals(again.accepted?.peer, peer);
});

Deno.test("ServerCore.shed() costs an honest client its connection and nothing else: place, entities and state come back", () => {
  const { pair, play } = honestWorld(2);
  const { core, engine } = pair.server;
  const left: number[] = [];
  engine.onPlayerLeave = (peer) => left.push(peer);
  const peers = pair.clients.map(({ engine }) => engine.peer);
  const despawned: number[] = [];
  const heard: string[] = [];
  for (const [i, { engine }] of pair.clients.entries()) {
    engine.onDespawn = (handle) => despawned.push(handle);
    engine.onLeft = (code, _reason, final) => heard.push(`${i} left ${code} ${final}`);
    engine.onJoined = ({ resumed }) => heard.push(`${i} joined ${resumed}`);
  }
  assertEquals(core.shed(pair.network.now), true);
  play(2_000);
  pair.until("all are back", () => pair.clients.every(({ core }) => core.isJoined));
  play(1_000);
  pair.run(500);
  const victim = heard[0]![0];
  assertEquals(heard, [`${victim} left ${CloseCode.Shed} false`, `${victim} joined true`]);
  assertEquals(pair.clients.map(({ engine }) => engine.peer), peers);
  assertEquals(left, []);
  assertEquals(despawned, []);
  assertEquals(core.counters.get("peers.lost"), 1);
  assertEquals(disagreements(pair), []);
});

Deno.test("ServerCore.shed() says so, where nobody is joined", () => {
  const pair = new Pair({ grants: GRANTS, seed: 3, clients: 0 }).start();
  pair.run(100);
  assertEquals(pair.server.core.shed(pair.network.now), false);
});

Deno.test("ServerCore resets streams beyond those that a peer's role has a use for, at once, and serves the others", () => {
  const { pair, play, ends } = honestWorld(4);
  const { core } = pair.server;
  const raw = new RawPeer(pair).join();
  const most = reliableChannels(GRANTS, GRANTS.defaultRole) + SPARE_STREAMS;
  const resets: number[] = [];
  const before = core.counters.get("channel.refused");
  for (let i = 0; i < MAX_STREAMS_PER_PEER - 1; i++) {
    const stream = raw.connection.openStream();
    stream.setHandler({
      handleData() {},
      handleEnd() {},
      handleReset: (code) => resets.push(code),
      handleWritable() {},
    });
    // Half a preamble: it never becomes a channel.
    stream.write(encodePreamble(1, "files/half").subarray(0, 3));
  }
  play(500);
  assertEquals(core.usage.streams, most);
  assertEquals(resets.length, MAX_STREAMS_PER_PEER - 1 - most);
  assertEquals(core.counters.get("channel.refused") - before, resets.length);
  assertEquals(raw.closed, undefined);
  assertEquals(ends, []);
  pair.run(1_000);
  assertEquals(disagreements(pair), []);
});
