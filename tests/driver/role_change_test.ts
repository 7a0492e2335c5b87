// What was begun under a role that is gone: channels that are open, messages and events under way. Real cores and SDKs on virtual time.

import { assert, assertEquals } from "@std/assert";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { Writer } from "../../protocol/writer.ts";
import { FieldCodec } from "../../replication/field_codec.ts";
import { createValue } from "../../replication/value.ts";
import { avatarAt, driverGrants } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import { ForgedState, RawPeer } from "../support/raw_peer.ts";

const GRANTS = driverGrants();

function room(clients: number) {
  const pair = new Pair({ grants: GRANTS, seed: 3, clients }).start();
  pair.joinAll();
  const avatars = pair.clients.map(({ engine }) => engine.spawn(avatarAt(1)));
  flush(pair, 400);
  return { pair, server: pair.server.engine, avatars };
}

function flush(pair: Pair, ms: number): void {
  for (const { engine } of [pair.server, ...pair.clients]) engine.flush();
  pair.run(ms);
}

Deno.test("a channel that a role may not use any more closes at both engines, and others stay open", () => {
  for (const opener of ["client", "server"] as const) {
    const { pair, server } = room(1);
    const { engine } = pair.clients[0]!;
    const peer = engine.peer!;
    const closed: string[] = [];
    const hear = (name: string) => (reason: string) => closed.push(`${name}: ${reason}`);
    server.onChannel = (channel) => channel.onClose = hear(`server ${channel.name}`);
    engine.onChannel = (channel) => channel.onClose = hear(`client ${channel.name}`);
    const open = (name: string) =>
      opener === "client" ? engine.openChannel(name)! : server.openChannel(name, { peer })!;
    const [stage, chat] = [open("backstage"), open("chat")];
    stage.onClose = hear(`${opener} backstage`);
    stage.send(new Uint8Array(10));
    chat.send(new Uint8Array(10));
    flush(pair, 200);
    assertEquals(closed, []);
    server.setRole(peer, "spectator");
    flush(pair, 300);
    assertEquals(closed.map((one) => one.split(":")[0]).toSorted(), [
      "client backstage",
      "server backstage",
    ]);
    assert(closed.some((one) => one.endsWith("the role may not use it any more")), `${closed}`);
    assert(!stage.isOpen && chat.isOpen);
    assertEquals(pair.server.core.usage.channels, 1);
    assert(pair.clients[0]!.core.isJoined, "that is nobody's fault");
  }
});

Deno.test("a message that a peer has begun goes no further, when its role may not send it any more", () => {
  const { pair, server } = room(0);
  const peer = new RawPeer(pair).join();
  const pieces: number[] = [];
  server.onChannel = (channel) => channel.onMessage = ({ length }) => pieces.push(length);
  const stream = peer.connection.openStream();
  let reset: number | undefined;
  stream.setHandler({
    handleData: () => {},
    handleEnd: () => {},
    handleReset: (code) => reset = code,
    handleWritable: () => {},
  });
  stream.write(encodePreamble(6, ""));
  stream.write(encodePieceHeader(5, false));
  stream.write(new Uint8Array(5));
  pair.run(200);
  assertEquals(pair.server.core.usage.channels, 1);
  server.setRole(peer.accepted!.peer, "spectator");
  flush(pair, 200);
  assertEquals(reset, CloseCode.ChannelClosed);
  assertEquals(pair.server.core.usage.channels, 0);
  assertEquals(pieces, []);
});

Deno.test("events of a peer that wait for their state go no further, when its role may not send them any more", () => {
  for (const isTaken of [true, false]) {
    const { pair, server } = room(0);
    const peer = new RawPeer(pair).join();
    pair.run(100);
    const heard: string[] = [];
    server.onEvent = (name) => heard.push(name);
    const wave = GRANTS.events.findIndex(({ name }) => name === "Wave");
    const value = createValue(GRANTS.events[wave]!);
    const writer = new Writer(32);
    new FieldCodec({ ...GRANTS.events[wave]!, allFields: 3 }).encodeAbsolute(writer, value, 3);
    peer.tell({
      kind: "event",
      eventId: GRANTS.events[wave]!.id,
      from: 0,
      time: peer.time,
      stateTicks: 6,
      payload: writer.finish(),
    });
    pair.run(60);
    assertEquals(heard, [], "it waits");
    if (isTaken) server.setRole(peer.accepted!.peer, "spectator");
    flush(pair, 1_000);
    assertEquals(heard, isTaken ? [] : ["Wave"]);
    assertEquals(pair.server.core.counters.get("event.droppedRole"), isTaken ? 1 : 0);
  }
});

Deno.test("events that wait at a client are dropped, when its new role is not given them", () => {
  for (const isTaken of [true, false]) {
    const components = {
      events: [{
        id: 2,
        name: "Boom",
        fields: { what: { type: "entity" } },
        send: ["server"],
        receive: ["player"],
        late: "deliver",
        waitMs: 3_000,
      }],
    };
    const grants = driverGrants(components);
    const pair = new Pair({ grants, seed: 5, clients: 1 }).start().joinAll();
    const client = pair.clients[0]!;
    const heard: string[] = [];
    client.engine.onEvent = (name) => heard.push(name);
    client.engine.spawn(avatarAt(0));
    flush(pair, 300);
    // State does not come through, so that the event has to wait for it.
    pair.muted = "down";
    const prop = pair.server.engine.spawn({ Prop: { at: [1, 0, 0] } });
    pair.server.engine.flush();
    pair.server.engine.sendEvent("Boom", { what: prop });
    flush(pair, 300);
    assertEquals(heard, []);
    if (isTaken) pair.server.engine.setRole(client.engine.peer!, "spectator");
    flush(pair, 200);
    pair.muted = undefined;
    flush(pair, 1_500);
    assertEquals(heard, isTaken ? [] : ["Boom"]);
    assertEquals(client.core.counters.get("event.droppedRole"), isTaken ? 1 : 0);
  }
});

Deno.test("ServerCore takes a component that a peer leaves out of a header for removed only where the gate lets it go", () => {
  const badge = GRANTS.components.findIndex(({ name }) => name === "Badge");
  const name = GRANTS.components.findIndex((one) => one.name === "Name");
  const cases = [
    ["it may", {}, "player", true],
    ["this host takes nothing of it in", { Badge: { receive: true } }, "player", false],
    ["its role writes nothing of it", {}, "spectator", false],
  ] as const;
  for (const [why, deny, role, isGone] of cases) {
    const grants = driverGrants({}, { deny: { components: deny } });
    const pair = new Pair({ grants, seed: 6, clients: 0 }).start();
    pair.run(100);
    const raw = new RawPeer(pair).join();
    const { peer } = raw.accepted!;
    const forged = new ForgedState(raw);
    const server = pair.server.engine;
    const handle = server.spawn({ Name: { text: "a" }, Badge: { level: 3 } }, { owner: peer });
    if (role !== "player") {
      server.setRole(peer, role);
      flush(pair, 100);
      forged.sender.grantEpoch = raw.of("role").at(-1)!.grantEpoch;
    }
    flush(pair, 300);
    const id = server.networkIdOf(handle);
    // It has both, and acknowledges that; then it lists one of them.
    pair.play(300, 33, () => raw.send(raw.datagram({})));
    forged.world.spawn(id, peer, forged.tick);
    forged.world.addComponent(id, name, createValue(grants.components[name]!), forged.tick, 0);
    forged.send(300);
    const { world } = pair.server.core;
    assertEquals(world.hasComponent(id, badge), !isGone, why);
    assert(world.hasComponent(id, name), why);
  }
});
