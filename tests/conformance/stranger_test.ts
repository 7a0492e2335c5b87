// A driver that was written from docs/PROTOCOL.md alone plays with the real ones.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { readVoicePackets } from "../../examples/recorded.ts";
import type { StreamHandler } from "../../transport/connection.ts";
import { driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { tapConnection } from "../support/wiretap.ts";
import { DriverEnd } from "./driver_end.ts";
import { strangersWorld } from "./recording.ts";
import { Stranger } from "./stranger.ts";
import { quantise } from "./values.ts";
import type { World } from "./world.ts";

const SILENT: StreamHandler = {
  handleData: () => {},
  handleEnd: () => {},
  handleReset: () => {},
  handleWritable: () => {},
};

/** A stranger in the world of a pair, what passed at its end, and its clock. */
function bring(pair: Pair, world: World) {
  const { server, network, grants } = pair;
  const link = network.connect(pair.conditions);
  server.core.handleConnection(link.acceptor, network.now);
  const end = new DriverEnd(world, false);
  const connection = tapConnection(link.connector, () => network.now, (event) => {
    if (event.kind !== "close") end.pass(event);
  });
  connection.start({ handleDatagram: () => {}, handleStream: () => {}, handleClosed: () => {} });
  const control = connection.openStream();
  control.setHandler(SILENT);
  const stranger = new Stranger(world, end, {
    datagram: (bytes) => connection.sendDatagram(bytes),
    control: (bytes) => control.write(bytes),
  }, "Avatar");
  const asked = network.now;
  stranger.join();
  pair.until("the stranger is in", () => end.peer >= 0);
  const accepted = end.controlIn.find((message) => message.kind === "accepted")!;
  const joined = network.now;
  const now = () => {
    const ms = network.now - joined + (joined - asked) / 2;
    return Math.floor(accepted.time + ms * grants.tickHz * 64 / 1000);
  };
  return { stranger, end, now };
}

for (const seed of [1, 2, 3]) {
  Deno.test(`a driver written from the page alone joins, moves, speaks and waves among real ones, when seed is ${seed}`, () => {
    const grants = driverGrants();
    const world = strangersWorld(grants);
    const pair = new Pair({
      grants,
      seed,
      clients: 1,
      conditions: { latencyMs: 20, jitterMs: 5, lossRate: 0.1, reorderRate: 0.05 },
    });
    pair.start().joinAll();
    const { server, network } = pair;
    const [client] = pair.clients as [typeof pair.clients[number]];
    const denials: unknown[] = [];
    for (const node of [server, client]) node.engine.onDenied = (denial) => denials.push(denial);
    client.engine.spawn({ Avatar: poseAt(3), Name: { text: "the native" } });
    client.engine.flush();

    const heard: { handle: number; frame: Uint8Array }[] = [];
    client.engine.onVoice = (handle, frame) => heard.push({ handle, frame });
    const waves: { count: unknown; who: number; from: number }[] = [];
    client.engine.onEvent = (_name, values, { from }) => {
      waves.push({ count: values.count, who: values.who as number, from });
    };

    // Joining.
    const { stranger, end, now } = bring(pair, world);

    // Playing.
    const packets = readVoicePackets();
    let spoken = 0;
    pair.play(3_000, 33, (t) => {
      stranger.set({ ...poseAt(1 + t / 50, 0, t / 100), turn: [0, 0, 0, 1] }, now());
      if (t > 15) stranger.speak(packets[spoken++]!);
      if (t === 40) {
        const wave = world.events.find((event) => event.name === "Wave")!;
        const value = [[stranger.id], quantise(wave.fields[1]!, 7)];
        stranger.event(wave.id, now(), value);
      }
      stranger.slot(now(), network.now);
    });
    const last = poseAt(9, 8, 0.5);
    stranger.set({ ...last, turn: [0, 1, 0, 0] }, now());
    pair.play(800, 33, () => stranger.slot(now(), network.now));

    // What it told is what everyone has.
    assertEquals(server.core.world.owner(stranger.id), end.peer);
    for (const node of [server, client]) {
      const handle = node.engine.handleOf(stranger.id);
      const seen = node.world.read(handle, "Avatar")!;
      const fields = world.components.find((c) => c.name === "Avatar")!.fields;
      for (const field of fields) {
        const told = field.name === "turn" ? [0, 1, 0, 0] : last[field.name];
        assertEquals(quantise(field, seen[field.name]), quantise(field, told), field.name);
      }
    }
    assertGreater(stranger.changes, 30);
    // What it was told it could read, and it heard of the other.
    assertEquals([...end.dropped.keys()].filter((reason) => reason !== "repeated"), []);
    assert(
      [...end.snapshots.entities.values()].some((e) => e.header?.owner === client.engine.peer),
    );
    // It was heard, and its event came with its name.
    assertGreater(heard.length, spoken * 0.7);
    for (const { handle, frame } of heard) {
      assertEquals(client.engine.networkIdOf(handle), stranger.id);
      assert(packets.some((packet) => packet.toHex() === frame.toHex()));
    }
    assertEquals(waves.length, 1);
    assertEquals(waves[0]!.count, 7);
    assertEquals(waves[0]!.from, end.peer);
    assertEquals(client.engine.networkIdOf(waves[0]!.who), stranger.id);
    assertEquals(denials, []);
    const faults = Object.entries(server.core.counters.snapshot()).filter(([name]) =>
      name.startsWith("fault.")
    );
    assertEquals(faults, []);

    stranger.bye();
    pair.run(1_500);
    assertEquals(server.core.world.isAlive(stranger.id), false);
  });
}

Deno.test("a driver written from the page alone is overridden and goes on under the next epoch, and hears of the end", () => {
  const grants = driverGrants();
  const world = strangersWorld(grants);
  const pair = new Pair({ grants, seed: 4, clients: 1, conditions: { latencyMs: 40 } });
  pair.start().joinAll();
  const { server, network } = pair;
  const { stranger, end, now } = bring(pair, world);
  const still = { turn: [0, 0, 0, 1] };
  const play = (ms: number) => pair.play(ms, 33, () => stranger.slot(now(), network.now));
  const placeAt = (node: Pick<PairNode, "engine" | "world">) =>
    node.world.read(node.engine.handleOf(stranger.id), "Avatar")?.body;
  const lines: string[] = [];
  const [client] = pair.clients;
  client!.engine.spawn({ Avatar: poseAt(3) });
  client!.engine.flush();
  stranger.set({ ...poseAt(1), ...still }, now());
  play(400);
  client!.engine.onRemoteChange = (handle, name, { body }) => {
    if (client!.engine.networkIdOf(handle) === stranger.id) lines.push(`${name} ${body}`);
  };
  assertEquals(placeAt(server), [1, 1, 0]);
  assertEquals(end.snapshots.entities.get(stranger.id)!.header!.epoch, 0);

  // What it says under the epoch it knows counts no more, before it has the override and acknowledged that.
  server.engine.set(server.engine.handleOf(stranger.id), "Avatar", poseAt(5));
  server.engine.flush();
  stranger.set({ ...poseAt(2), ...still }, now());
  play(50);
  assertEquals(end.snapshots.entities.get(stranger.id)!.header!.epoch, 1);
  play(400);
  assertEquals([placeAt(server), placeAt(client!), lines], [[5, 1, 0], [5, 1, 0], [
    "Avatar 5,1,0",
  ]]);
  stranger.set({ ...poseAt(6), ...still }, now());
  play(400);
  assertEquals([placeAt(server), placeAt(client!)], [[6, 1, 0], [6, 1, 0]]);

  server.engine.despawn(server.engine.handleOf(stranger.id));
  server.engine.flush();
  play(400);
  assertEquals(end.snapshots.entities.get(stranger.id)!.header!.state, "gone");
});
