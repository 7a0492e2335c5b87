// A run with something of everything in it, on bad links and virtual time, recorded: the material of the conformance tests. It notes what the
// game code of each engine did, so that the tests can ask whether the bytes said so.

import type { EngineLink } from "../../engine/engine_link.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { readVoicePackets } from "../../examples/recorded.ts";
import type { Grants } from "../../permissions/grants.ts";
import { driverComponents, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";
import { Recording } from "./recording.ts";

const EVERYTHING = {
  id: 20,
  name: "Everything",
  fields: {
    flag: { type: "bool" },
    small: { type: "u8" },
    medium: { type: "u16", min: 10, max: 60_000 },
    large: { type: "u32" },
    signed: { type: "i32" },
    real: { type: "f32", min: -5, max: 5, precision: 0.01 },
    point: { type: "vec3", min: -100, max: 100, precision: 0.01 },
    tiny: { type: "vec3", min: -1, max: 1, precision: 0.5 },
    turn: { type: "quat", bits: 12 },
    text: { type: "string", maxBytes: 64 },
    data: { type: "bytes", maxBytes: 256 },
    choice: { type: "enum", values: ["red", "green", "blue"] },
    target: { type: "entity" },
  },
  authority: "server",
  read: ["all"],
};

const BOTH_WAYS = { send: ["all"], receive: ["all"], rateHz: 20 };
const UP = { send: ["player"], receive: ["server"], rateHz: 20 };
const DOWN = { send: ["server"], receive: ["player", "spectator"], rateHz: 20 };

const CHANNELS = [
  { id: 1, name: "chat", mode: "reliable", ...BOTH_WAYS, maxBytes: 4_096 },
  { id: 2, name: "telemetry", mode: "unreliable", ...UP, maxBytes: 512 },
  { id: 3, name: "beacon", mode: "unreliable", ...DOWN, maxBytes: 512 },
  { id: 4, name: "script/*", mode: "reliable", ...BOTH_WAYS, maxBytes: 4_096 },
  { id: 5, name: "files", mode: "reliable", ...BOTH_WAYS, maxBytes: 16_777_216 },
  { id: 200, name: "notes/*", mode: "unreliable", ...UP, maxBytes: 512 },
];

type ClientNode = Pair["clients"][number];

/** One event that game code sent. */
export interface SceneEvent {
  readonly name: string;
  readonly values: ComponentValues;
  /** The engine that sent it. */
  readonly engine: EngineLink;
}

/** A voice frame that game code sent. */
export interface SpokenFrame {
  readonly id: number;
  readonly payload: Uint8Array;
}

/** The run. */
export interface Scene {
  readonly grants: Grants;
  readonly pair: Pair;
  readonly recording: Recording;
  /** Network ids of the clients' avatars. */
  readonly avatars: readonly number[];
  readonly sentEvents: SceneEvent[];
  readonly spoken: SpokenFrame[];
  /** Messages by channel name, as sent by clients and by the server. */
  readonly sentMessages: { readonly up: Uint8Array[]; readonly down: Uint8Array[] };
  readonly telemetry: Uint8Array[];
  readonly beacons: Uint8Array[];
  readonly notes: Uint8Array[];
}

/** Bytes that no other message of the run begins with. */
function patterned(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 17 + (i >> 8)) & 0xff);
}

/** Plays about six seconds with three clients. */
export function playScene(seed: number): Scene {
  const grants = driverGrants({
    components: [...driverComponents(), EVERYTHING],
    channels: CHANNELS,
  });
  const pair = new Pair({
    grants,
    seed,
    clients: 3,
    conditions: {
      latencyMs: 30,
      jitterMs: 8,
      lossRate: 0.05,
      duplicateRate: 0.02,
      reorderRate: 0.03,
    },
  });
  const recording = new Recording(pair);
  pair.start().joinAll();
  const { server } = pair;
  const [one, two, three] = pair.clients as [ClientNode, ClientNode, ClientNode];
  const own = pair.clients.map((client, i) =>
    client.engine.spawn({ ...avatarOf(i * 2), Name: { text: `p${i}é` }, Badge: { level: i } })
  );
  const upload = one.engine.spawn({ Upload: { data: patterned(5_000, 1) } });
  const thing = server.engine.spawn({
    Everything: {},
    Prop: { at: [1, 2, 3] },
    Score: { points: 4, mine: 5, secret: "nobody reads this" },
    Hint: { text: "only for players" },
  });
  const blob = server.engine.spawn({ Blob: { data: patterned(20_000, 2) } });
  const doomed = server.engine.spawn({ Prop: { at: [0, 0, 0] }, Hint: { text: "soon gone" } });
  for (const node of [server, ...pair.clients]) node.engine.flush();
  pair.until(
    "avatars have ids",
    () => own.every((handle, i) => pair.clients[i]!.engine.networkIdOf(handle) !== 0),
  );
  const avatars = own.map((handle, i) => pair.clients[i]!.engine.networkIdOf(handle));

  const scene: Scene = {
    grants,
    pair,
    recording,
    avatars,
    sentEvents: [],
    spoken: [],
    sentMessages: { up: [], down: [] },
    telemetry: [],
    beacons: [],
    notes: [],
  };
  const chat = two.engine.openChannel("chat")!;
  const script = two.engine.openChannel("script/one")!;
  const files = server.engine.openChannel("files", { peer: three.engine.peer! })!;
  const telemetry = one.engine.openChannel("telemetry")!;
  const note = three.engine.openChannel("notes/of/three")!;
  const beacon = server.engine.openChannel("beacon", { peer: two.engine.peer! })!;
  const send = (list: Uint8Array[], channel: typeof chat, bytes: Uint8Array) => {
    if (channel.send(bytes)) list.push(bytes);
  };
  const event = (
    { engine }: { readonly engine: EngineLink },
    name: string,
    values: ComponentValues,
  ) => {
    if (engine.sendEvent(name, values)) scene.sentEvents.push({ engine, name, values });
  };
  send(scene.sentMessages.down, files, patterned(200_000, 3));
  send(scene.sentMessages.up, script, patterned(0, 0));

  const packets = readVoicePackets();
  let spoke = 0;
  const speak = () => {
    const payload = packets[spoke++ % packets.length]!;
    if (one.engine.sendVoice(own[0]!, payload)) scene.spoken.push({ id: avatars[0]!, payload });
    if (spoke < 150) pair.network.at(pair.network.now + 20, speak);
  };
  pair.network.at(pair.network.now + 300, speak);

  pair.play(3_300, 33, (t) => {
    pair.clients.forEach((client, i) => {
      // The third client walks out of the others' interest and back.
      const x = i === 2 ? 2 * (50 - Math.abs(50 - t)) : i * 2;
      client.engine.set(own[i]!, "Avatar", avatarOf(x, Math.sin(t / 10), t / 100, t).Avatar);
    });
    server.engine.set(thing, "Everything", {
      flag: t % 2 === 0,
      small: t,
      medium: 10 + t * 100,
      large: t * 40_000_000,
      signed: t % 3 === 0 ? -t * 1_000_000 : t,
      real: (t % 10) - 5,
      point: [t / 10, -t / 10, 0],
      tiny: [t % 3 * 0.5 - 0.5, 0, 0.5],
      turn: [Math.sin(t), 0, 0, Math.cos(t)],
      text: `text ${t} é`,
      data: patterned(t % 50, t),
      choice: ["red", "green", "blue"][t % 3]!,
      target: t % 4 === 0 ? 0 : server.engine.handleOf(avatars[t % 3]!),
    });
    if (t === 20) server.engine.despawn(doomed);
    if (t === 30) server.engine.remove(thing, "Hint");
    if (t === 40) server.engine.set(blob, "Blob", { data: patterned(30_000, 4) });
    if (t === 45) one.engine.set(upload, "Upload", { data: patterned(9_000, 5) });
    if (t === 35) {
      server.engine.revoke(two.engine.peer!, "Everything", { read: ["text", "point"] });
    }
    if (t === 65) server.engine.restore(two.engine.peer!, "Everything");
    if (t === 50) server.engine.setRole(two.engine.peer!, "spectator");
    if (t === 55) {
      server.engine.set(server.engine.handleOf(avatars[0]!), "Name", { text: "overridden" });
    }
    if (t === 60) one.engine.remove(own[0]!, "Badge");
    if (t === 70) server.engine.setRole(two.engine.peer!, "player");
    if (t === 75) server.engine.transfer(thing, three.engine.peer!);
    if (t % 10 === 0) {
      event(one, "Wave", { who: own[0]!, count: t });
      event(server, "Boom", { what: thing, count: t });
      event(three, "Ask", { text: `what is ${t}?` });
      send(scene.sentMessages.up, chat, patterned(t * 40, t));
      send(scene.telemetry, telemetry, patterned(t + 1, t));
      send(scene.beacons, beacon, patterned(t + 2, t));
      send(scene.notes, note, patterned(t + 3, t));
    }
    for (const node of [server, ...pair.clients]) node.engine.flush();
  });
  // The last sight of everyone, and time for every pair of ends to become quiet.
  pair.run(2_500);
  return scene;
}

function avatarOf(x: number, z = 0, hand = 0, turn = 0): { Avatar: ComponentValues } {
  const half = turn / 40;
  return { Avatar: { ...poseAt(x, z, hand), turn: [0, Math.sin(half), 0, Math.cos(half)] } };
}
