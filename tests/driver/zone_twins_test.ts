// Two runs that differ in nothing but what happens behind a closed door: what leaves for somebody outside is the same to the last byte, and
// at the same times.

import { assert, assertEquals, assertGreater, assertNotEquals } from "@std/assert";
import { Prng } from "../../protocol/prng.ts";
import type { ClientCore } from "../../driver/client_core.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { tapConnection, type TappedEvent } from "../support/wiretap.ts";

const GRANTS = driverGrants({ zones: [{ id: 1, name: "room" }] });
const STEPS = 60;

type Client = PairNode<ClientCore>;

/** What happens in the room of one twin. */
type Life = (room: Room) => void;

/** The room of a run: who is in it, and the script of what they do. */
interface Room {
  readonly pair: Pair;
  readonly script: Prng;
  /** Two clients that stand in the room. */
  readonly inside: readonly Client[];
  /** Their avatars, by their own handles. */
  readonly bodies: readonly number[];
  /** Things of the server's engine in the room. */
  readonly things: number[];
  /** Things that the clients made there. */
  readonly made: { readonly client: Client; readonly handle: number }[];
  /** The outsider's avatar by the handles of the clients inside. */
  readonly stranger: readonly number[];
}

function opus(first: number): Uint8Array {
  const bytes = new Uint8Array(60).fill(first);
  bytes[0] = 9 << 3;
  return bytes;
}

/** Plays a run, and gives all that left for the client outside. */
function transcript(seed: number, life: Life): TappedEvent[] {
  const left: TappedEvent[] = [];
  const pair = new Pair({ grants: GRANTS, seed, clients: 3, conditions: { latencyMs: 15 } });
  const [outsider, ...inside] = pair.clients;
  pair.tap = {
    connection: (client, connector, acceptor) => ({
      connector,
      acceptor: (client as unknown) !== outsider
        ? acceptor
        : tapConnection(acceptor, () => pair.network.now, (event) => {
          if (event.way === "out") left.push(event);
        }),
    }),
    engineBytes: () => {},
  };
  pair.start().joinAll();
  const { engine } = pair.server;
  const settle = (ms = 500) => {
    for (const node of [pair.server, ...pair.clients]) node.engine.flush();
    pair.run(ms);
  };
  const own = outsider!.engine.spawn(avatarAt(0));
  const bodies = inside.map((client) => client.engine.spawn(avatarAt(1)));
  // What the outsider sees all along, so that there is traffic in which something could show.
  const seen = engine.spawn({ Prop: { at: [2, 0, 0] }, Score: { points: 0 } });
  const things = [
    engine.spawn({ Prop: { at: [1, 0, 1] } }),
    engine.spawn({ Score: { points: 1 } }),
  ];
  settle();
  const toServer = (client: Client, handle: number) =>
    engine.handleOf(client.engine.networkIdOf(handle));
  const stranger = inside.map((client) =>
    client.engine.handleOf(outsider!.engine.networkIdOf(own))
  );
  // All that is in the room was seen outside once, and was named by what is seen; the door closes.
  engine.set(seen, "Prop", { heldBy: things[0]! });
  settle();
  for (const thing of things) assert(engine.setZone(thing, "room"));
  for (const [i, client] of inside.entries()) {
    assert(engine.setZone(toServer(client, bodies[i]!), "room"));
  }
  settle();
  pair.links.get(outsider!)!.change({ lossRate: (seed % 3) * 0.05 });
  const room: Room = {
    pair,
    script: new Prng(seed),
    inside,
    bodies,
    things: [...things],
    made: [],
    stranger,
  };
  left.length = 0;
  for (let step = 0; step < STEPS; step++) {
    life(room);
    if (step % 3 === 0) outsider!.engine.set(own, "Avatar", poseAt(step % 7));
    if (step % 5 === 0) engine.set(seen, "Score", { points: step });
    if (step % 7 === 0) engine.set(seen, "Prop", { at: [2, step % 2, 0] });
    if (step % 20 === 10) engine.sendEvent("Boom", { count: step, what: seen });
    for (const node of [pair.server, ...pair.clients]) node.engine.flush();
    pair.run(33);
  }
  pair.run(500);
  return left;
}

const quiet: Life = () => {};

/** Everything that can happen in a room, at random. */
const busy: Life = ({ pair, script, inside, bodies, things, made, stranger }) => {
  const { engine } = pair.server;
  for (let i = 0; i < 4; i++) {
    const which = script.nextBelow(2);
    const client = inside[which]!;
    const thing = things[script.nextBelow(things.length)]!;
    switch (script.nextBelow(12)) {
      case 0:
        things.push(engine.spawn({ Prop: { at: [3, 0, script.nextBelow(9)] } }, { zone: "room" }));
        break;
      case 1:
        if (things.length > 2) engine.despawn(things.pop()!);
        break;
      case 2:
        if (made.length < 2) made.push({ client, handle: client.engine.spawn(avatarAt(5)) });
        break;
      case 3: {
        const one = made.pop();
        if (one !== undefined) one.client.engine.despawn(one.handle);
        break;
      }
      case 4:
        client.engine.set(bodies[which]!, "Avatar", poseAt(script.nextBelow(20)));
        break;
      case 5:
        client.engine.sendEvent("Wave", { count: 1, who: bodies[which]! });
        break;
      case 6:
        // Of somebody outside, and of nobody.
        client.engine.sendEvent("Wave", {
          count: 2,
          who: script.chance(0.5) ? stranger[which]! : 0,
        });
        break;
      case 7:
        engine.sendEvent("Boom", { count: 3, what: thing });
        break;
      case 8:
        for (let n = 0; n < 3; n++) client.engine.sendVoice(bodies[which]!, opus(n));
        break;
      case 9:
        client.engine.set(bodies[which]!, "Name", { text: `name ${script.nextBelow(9)}` });
        break;
      case 10: {
        const body = engine.handleOf(client.engine.networkIdOf(bodies[which]!));
        if (body !== 0) engine.transfer(thing, script.chance(0.5) ? client.engine.peer! : 0);
        break;
      }
      case 11:
        if (engine.get(thing, "Score") !== undefined) engine.remove(thing, "Score");
        else engine.set(thing, "Score", { points: script.nextBelow(99), secret: "in the room" });
        break;
    }
  }
};

Deno.test("nothing that happens in a closed zone changes a byte, or a moment, of what leaves for somebody outside", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const [still, moved] = [transcript(seed, quiet), transcript(seed, busy)];
    assertGreater(still.length, 40, `seed ${seed}`);
    for (let i = 0; i < Math.max(still.length, moved.length); i++) {
      assertEquals(moved[i], still[i], `seed ${seed}, event ${i} of ${still.length}`);
    }
  }
});

for (
  const [what, leak] of [
    ["an event named", ({ pair }: Room) => pair.server.engine.sendEvent("Boom", { count: 9 })],
    ["a spawn", ({ pair }: Room) => pair.server.engine.spawn({ Prop: { at: [1, 0, 0] } })],
    [
      "a door that opens",
      ({ pair, things }: Room) => pair.server.engine.setZone(things[0]!, undefined),
    ],
  ] as const
) {
  Deno.test(`a transcript tells twins apart, when ${what} is not in the zone`, () => {
    let steps = 0;
    const other = transcript(2, (room) => {
      steps += 1;
      if (steps === 20) leak(room);
    });
    assertNotEquals(other, transcript(2, quiet));
  });
}
