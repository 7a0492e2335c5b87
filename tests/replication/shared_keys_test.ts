// What one link has coded in a tick must not reach another under a key that says too little: cases that random runs do not find.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";
import { createInterestResult } from "../../replication/interest.ts";
import { SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { buildComponents, PLAYER, sampleGrants } from "../support/sample_grants.ts";

const ID = makeEntityId(1, 0);

Deno.test("a version that one link repeats is not taken for the younger one of another, though both hold the same and refer to the same", () => {
  const components = buildComponents([{
    id: 1,
    name: "Motion",
    fields: [{ name: "place", kind: "vec3", min: -100, max: 100 }],
    rateHz: 30,
  }]);
  const grants = sampleGrants({ components, tickHz: 30 });
  const world = new World(grants);
  const value = createValue(grants.components[0]!);
  const view = createInterestResult();
  view.slots = Int32Array.of(1);
  view.distanceSquared = Float64Array.of(1);
  view.count = 1;
  const links = [1, 2].map((peer) => {
    const both = { grants, roleIndex: PLAYER, peer, direction: "down" as const };
    const sender = new SnapshotSender({ ...both, world });
    const receiver = new SnapshotReceiver(both);
    let sequence = 0;
    /** Sends at a tick; what arrives is acknowledged. */
    const send = (tick: number, arrives: boolean): number[][] => {
      const places: number[][] = [];
      sender.updateView(tick, view);
      const writer = new Writer();
      while (sender.writeSection(writer, 8_800, tick, sequence)) {
        if (arrives) {
          const decoded = receiver.decode(new Reader(writer.finish()), tick);
          assert(decoded !== undefined, "what honest links send is understood");
          for (const entry of decoded.entries.slice(0, decoded.count)) {
            if (entry.kind === "value") places.push([...entry.value.lanes]);
          }
          receiver.commit(decoded);
          sender.handleAcked(sequence);
        } else {
          sender.handleLost(sequence);
        }
        writer.clear();
        sequence += 1;
      }
      return places;
    };
    return { sender, send };
  });
  const [first, second] = links;
  const places = (
    tick: number,
  ) => [100_000 + 37 * tick, 100_000 - 11 * tick, 100_000 + tick * tick];
  const move = (tick: number) => {
    value.lanes.set(places(tick));
    world.write(ID, 0, 1, value, tick, tick * 64);
  };
  world.spawn(ID, 0, 1);
  value.lanes.set(places(1));
  world.addComponent(ID, 0, value, 1, 64);
  for (let tick = 1; tick <= 6; tick++) {
    if (tick > 1) move(tick);
    for (const { send } of links) assertEquals(send(tick, true), [places(tick)]);
  }
  // Each link loses one version, at different ticks, and has no slot in the other's.
  move(7);
  assertEquals(second!.send(7, false), []);
  move(8);
  assertEquals(first!.send(8, false), []);
  // The first repeats its version of tick 8; for the second the same value is a new one, of tick 9.
  assertEquals(first!.send(9, true), [places(8)]);
  assertEquals(second!.send(9, true), [places(8)]);
});

Deno.test("what one link coded for a peer that was sent nothing since its reference is not taken for another that was sent many versions", () => {
  // Which versions before the reference are named depends on how many came after it: the peer holds so many of a value and no more.
  const grants = sampleGrants({
    components: buildComponents([{
      id: 1,
      name: "Motion",
      // A text keeps it out of step.
      fields: [{ name: "place", kind: "vec3", min: -100, max: 100 }, {
        name: "text",
        kind: "string",
      }],
      rateHz: 30,
    }]),
    tickHz: 30,
  });
  const view = createInterestResult();
  view.slots = Int32Array.of(1);
  view.distanceSquared = Float64Array.of(1);
  view.count = 1;
  const heard = 5;
  const pause = 30;
  const end = 41;
  /** The last datagram of each link: of one that sends all the time, and of one that rests from `pause` to `end`. */
  const play = (rests: readonly boolean[]): string[] => {
    const world = new World(grants);
    const value = createValue(grants.components[0]!);
    const senders = rests.map((_, i) =>
      new SnapshotSender({ grants, world, peer: i + 1, roleIndex: PLAYER, direction: "down" })
    );
    const last = rests.map(() => "");
    world.spawn(ID, 0, 1);
    for (let tick = 1; tick <= end; tick++) {
      value.lanes.set([100_000 + 37 * tick, 100_000 - 11 * tick, 100_000 + tick * tick]);
      if (tick === 1) world.addComponent(ID, 0, value, tick, tick * 64);
      else world.write(ID, 0, 1, value, tick, tick * 64);
      for (const [i, sender] of senders.entries()) {
        if (rests[i]! && tick >= pause && tick < end) continue;
        sender.updateView(tick, view);
        const writer = new Writer();
        assert(sender.writeSection(writer, 8_800, tick, tick));
        last[i] = writer.finish().toHex();
        // Each fifth datagram is heard of, up to the pause.
        if (tick % heard === 1 && tick < pause) sender.handleAcked(tick);
      }
    }
    return last;
  };
  const [resting] = play([true]);
  const [busy] = play([false]);
  assertNotEquals(resting, busy);
  assertEquals(play([true, false]), [resting, busy]);
  assertEquals(play([false, true]), [busy, resting]);
});
