// What the drivers say to each other, read from docs/PROTOCOL.md alone, means what their cores and engines hold.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { inspectOpusPacket } from "../../voice/opus_toc.ts";
import { unwrap16 } from "./bits.ts";
import type { Control } from "./control.ts";
import type { EngineEnd } from "./engine_end.ts";
import { compareDown, compareEnds, compareUp, hashOf, Said } from "./meaning.ts";
import { type ReadLink, strangersWorld } from "./recording.ts";
import { playScene, type Scene } from "./scene.ts";
import { quantise } from "./values.ts";
import type { World } from "./world.ts";

interface ReadScene {
  readonly scene: Scene;
  readonly world: World;
  readonly links: ReadLink[];
  readonly serverEngine: EngineEnd;
  readonly clientEngines: EngineEnd[];
}

const read = new Map<number, ReadScene>();

/** Scenes are played once and looked at by every test. */
function readScene(seed: number): ReadScene {
  let known = read.get(seed);
  if (known === undefined) {
    const scene = playScene(seed);
    const world = strangersWorld(scene.grants);
    known = {
      scene,
      world,
      links: scene.recording.readLinks(world),
      serverEngine: scene.recording.readEngine(world, scene.pair.server),
      clientEngines: scene.pair.clients.map((node) => scene.recording.readEngine(world, node)),
    };
    read.set(seed, known);
  }
  return known;
}

const SEEDS = [1, 2];

for (const seed of SEEDS) {
  Deno.test(`network: every datagram is readable, and only repeats and old epochs are dropped, when seed is ${seed}`, () => {
    for (const [i, { clientEnd, serverEnd }] of readScene(seed).links.entries()) {
      for (const [end, label] of [[clientEnd, "client"], [serverEnd, "server"]] as const) {
        const reasons = [...end.dropped.keys()].filter((r) => r !== "repeated");
        // A role change passes sections of the old epoch on the way; nothing else is ever unreadable.
        assertEquals(reasons.filter((r) => i !== 1 || r !== "WrongEpoch"), [], `${label} ${i}`);
        assertGreater(end.received.size, 80);
      }
    }
  });

  Deno.test(`network: acknowledgements and control messages say what passed, when seed is ${seed}`, () => {
    for (const [i, link] of readScene(seed).links.entries()) {
      // Each acknowledgement was compared with what this end had taken, while it was read.
      assertGreater(link.clientEnd.acksSent.size, 80);
      assertGreater(link.serverEnd.acksSent.size, 80);
      assert([...link.clientEnd.acksSent.values()].some((ack) => ack.acknowledged.length > 80));
      compareEnds(link, `link ${i}`);
    }
  });

  Deno.test(`network: values, owners, epochs and sample times equal what the cores hold, when seed is ${seed}`, () => {
    const { scene, links } = readScene(seed);
    const { core } = scene.pair.server;
    for (const [i, { clientEnd, serverEnd }] of links.entries()) {
      assertGreater(compareDown(clientEnd, core, scene.grants, `down ${i}`), 6);
      assertGreater(compareUp(serverEnd, core, scene.grants, `up ${i}`), 0);
    }
    // The server overrode a name: its owner was told, with the epoch that grew.
    const { snapshots } = links[0]!.clientEnd;
    const [avatar] = scene.avatars;
    const name = scene.grants.components.find((c) => c.name === "Name")!;
    const overridden = snapshots.newest(avatar!, name.index)!;
    assertEquals(overridden.value, [new TextEncoder().encode("overridden")]);
    assertGreater(snapshots.entities.get(avatar!)!.header!.epoch, 0);
  });

  Deno.test(`network: every value that arrived is what an engine said for this sample time, when seed is ${seed}`, () => {
    const { links, serverEngine, clientEngines } = readScene(seed);
    const said = new Said();
    for (const engine of [serverEngine, ...clientEngines]) said.add(engine);
    for (const [i, { clientEnd, serverEnd }] of links.entries()) {
      assertGreater(said.compareArrivals(clientEnd, `down ${i}`), 150);
      assertGreater(said.compareArrivals(serverEnd, `up ${i}`), 50);
      const kinds = new Set(clientEnd.arrivals.map((arrival) => arrival.how));
      assertEquals(kinds, new Set(["absolute", "change", "pieces"]));
    }
    assert(links[0]!.serverEnd.arrivals.some((arrival) => arrival.how === "pieces"));
  });

  Deno.test(`network: state hashes are those of the decoded values, when seed is ${seed}`, () => {
    const { scene, world, links } = readScene(seed);
    let compared = 0;
    for (const [i, { clientEnd }] of links.entries()) {
      const ids = world.components.map((component) => component.id);
      for (const [id, { header, tracks }] of clientEnd.snapshots.entities) {
        if (header?.state !== "alive" || header.owner === clientEnd.peer) continue;
        if ([...header.components.values()].includes(true)) continue;
        const values = ids.map((_, c) =>
          header.components.has(c) ? tracks.get(c)?.versions.at(-1)?.value : undefined
        );
        assertEquals(hashOf(ids, values), scene.pair.clients[i]!.core.hashOf(id), `hash of ${id}`);
        compared += 1;
      }
    }
    assertGreater(compared, 6);
  });

  Deno.test(`network: each voice frame arrives with its entity, number and bytes, when seed is ${seed}`, () => {
    const { scene, links, clientEngines } = readScene(seed);
    const { spoken, avatars } = scene;
    assertGreater(spoken.length, 100);
    const isSpeaker = (frame: { slot: number; generation: number }) =>
      frame.slot === avatars[0]! % 2 ** 20 &&
      frame.generation === Math.floor(avatars[0]! / 2 ** 20) % 4;
    for (const [i, { clientEnd, serverEnd }] of links.entries()) {
      const { voice } = i === 0 ? serverEnd : clientEnd;
      const isInRange = i !== 2;
      if (isInRange) assertGreater(voice.length, spoken.length * 0.8);
      for (const frame of voice) {
        assert(isSpeaker(frame));
        assertEquals(frame.payload, spoken[frame.sequence]!.payload);
        assert(inspectOpusPacket(frame.payload) !== undefined);
      }
      if (i === 0) {
        assertEquals(clientEnd.voice.length, 0);
        continue;
      }
      // What the listener's engine is told is what its driver heard, with the same time.
      const told = clientEngines[i]!.all("voice", "toEngine");
      assertEquals(told.length, voice.length);
      const heard = new Map(voice.map((frame) => [frame.sequence, frame]));
      for (const { fields } of told) {
        const frame = heard.get(fields.sequence as number)!;
        assertEquals(fields.frame, frame.payload);
        assertEquals(fields.time, frame.time);
        assertEquals(clientEngines[i]!.ids.get(fields.handle as number), avatars[0]!);
      }
    }
    // Times grow with the numbers by a frame's length: 20 ms at 30 ticks of 64 sub-ticks a second.
    const times = links[0]!.serverEnd.voice.toSorted((a, b) => a.sequence - b.sequence);
    const first = times[0]!;
    const last = times.at(-1)!;
    const perFrame = (last.time - first.time) / (last.sequence - first.sequence);
    assert(Math.abs(perFrame - 0.020 * 30 * 64) < 1, `${perFrame} sub-ticks a frame`);
  });

  Deno.test(`network: events arrive in order with their sender, fields and time, when seed is ${seed}`, () => {
    const { scene, world, links, serverEngine, clientEngines } = readScene(seed);
    const eventsIn = (controls: readonly Control[]) => controls.filter((c) => c.kind === "event");
    for (const [i, { clientEnd, serverEnd, client }] of links.entries()) {
      const sent = scene.sentEvents.filter((event) => event.engine === client.engine);
      const up = eventsIn(serverEnd.controlIn);
      assertEquals(up.length, sent.length);
      up.forEach((event, at) => {
        const layout = world.events.find((e) => e.id === event.event)!;
        assertEquals(layout.name, sent[at]!.name);
        assertEquals(event.from, 0);
        layout.fields.forEach((field, f) => {
          const given = sent[at]!.values[field.name];
          const engine = clientEngines[i]!;
          const value = field.kind === "entity" ? engine.ids.get(given as number) : given;
          assertEquals(event.value[f], quantise(field, value));
        });
      });
      const down = eventsIn(clientEnd.controlIn);
      const causes = down.map((event) => `${event.event} from ${event.from}`);
      assert(causes.includes("2 from 0"));
      if (i !== 0) assert(causes.includes(`1 from ${links[0]!.clientEnd.peer}`));
      const told = clientEngines[i]!.all("event", "toEngine").map(({ fields }) =>
        `${fields.eventId} from ${fields.from} at ${fields.time}`
      );
      const heard = down.map((event) => `${event.event} from ${event.from} at ${event.time}`);
      // Events of different declarations and causes do not wait for each other.
      assertEquals(told.toSorted(), heard.toSorted());
    }
    assertGreater(serverEngine.all("event", "toEngine").length, 15);
  });

  Deno.test(`network: channels carry every message whole and in order, when seed is ${seed}`, () => {
    const { scene, links, serverEngine } = readScene(seed);
    const received = { up: [] as Uint8Array[], down: [] as Uint8Array[] };
    const names: string[] = [];
    for (const { clientEnd, serverEnd } of links) {
      for (const channel of clientEnd.channels.values()) {
        names.push(`${channel.opener.opened!.channel} ${channel.opener.opened!.name}`);
        const list = channel.isOurs ? received.up : received.down;
        if (!channel.isOurs) list.push(...channel.opener.messages);
      }
      for (const channel of serverEnd.channels.values()) {
        if (!channel.isOurs) received.up.push(...channel.opener.messages);
        assert(channel.opener.isBetweenMessages);
      }
    }
    assertEquals(names.toSorted(), ["1 ", "4 script/one", "5 "]);
    assertEquals(received.down, scene.sentMessages.down);
    const sort = (list: Uint8Array[]) => list.toSorted((a, b) => a.length - b.length);
    assertEquals(sort(received.up), sort(scene.sentMessages.up));
    const unreliable = [
      [links[0]!.serverEnd.messages, scene.telemetry, 2, ""],
      [links[1]!.clientEnd.messages, scene.beacons, 3, ""],
      [links[2]!.serverEnd.messages, scene.notes, 200, "notes/of/three"],
    ] as const;
    for (const [messages, sent, id, name] of unreliable) {
      assertGreater(messages.length, sent.length / 2);
      for (const message of messages) {
        assertEquals([message.channel, message.name], [id, name]);
        assert(sent.some((bytes) => bytes.toHex() === message.message.toHex()));
      }
    }
    const told = serverEngine.all("channelOpen", "toEngine");
    assert(told.some(({ fields }) => fields.name === "notes/of/three"));
  });

  Deno.test(`network: the roster, roles and grant epochs are those of the world, when seed is ${seed}`, () => {
    const { scene, world, links } = readScene(seed);
    const peers = links.map(({ clientEnd }) => clientEnd.peer);
    assertEquals(peers, scene.pair.clients.map((client) => client.engine.peer));
    for (const [i, { clientEnd, serverEnd }] of links.entries()) {
      const [join] = serverEnd.controlIn;
      assert(join?.kind === "join");
      assertEquals(join.schemaHash, world.schemaHash);
      const known = new Map<number, number>();
      for (const message of clientEnd.controlIn) {
        if (message.kind === "roster") {
          for (const { peer, role } of message.joins) known.set(peer, role);
          for (const peer of message.leaves) known.delete(peer);
        }
        if (message.kind === "role") known.set(message.peer, message.role);
      }
      for (const peer of peers) assertEquals(known.get(peer), 1, `peer ${peer} plays again`);
      const roles = clientEnd.controlIn.filter((m) => m.kind === "role");
      const epochs = i === 1 ? [2, 4] : [0, 0];
      assertEquals(roles.map((m) => m.grantEpoch), epochs);
      const grants = clientEnd.controlIn.filter((m) => m.kind === "grants");
      assertEquals(grants.map((m) => m.grantEpoch), i === 1 ? [1, 3] : []);
      assertEquals(clientEnd.grantEpoch, i === 1 ? 4 : 0);
    }
  });
}

Deno.test("`unwrap16()` takes the nearest number, and the smaller of two, when numbers wrap", () => {
  assertEquals(unwrap16(0xffff, 0), -1);
  assertEquals(unwrap16(0, 0xffff), 0x1_0000);
  assertEquals(unwrap16(0x8000, 0), -0x8000);
  assertEquals(unwrap16(5, 0x2_0003), 0x2_0005);
});
