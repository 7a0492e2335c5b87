// What engines and drivers say to each other, read from docs/PROTOCOL.md alone, is the world that both ends have.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { encodeToDriver, encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToDriver, ToEngine } from "../../protocol/engine_messages.ts";
import { MAX_MSGPACK_DEPTH } from "../../protocol/limits.ts";
import type { LogPage } from "../../engine/log_reader.ts";
import type { ReferenceWorld } from "../../engine/reference_world.ts";
import { TO_DRIVER_SAMPLES, TO_ENGINE_SAMPLES } from "../support/engine_link_samples.ts";
import { sampleGrants } from "../support/sample_grants.ts";
import { Malformed } from "./bits.ts";
import type { EngineEnd } from "./engine_end.ts";
import { FrameSplitter, readMessage } from "./engine_link.ts";
import { hashOf } from "./meaning.ts";
import { readMessagePack } from "./msgpack.ts";
import { strangersWorld } from "./recording.ts";
import { playScene } from "./scene.ts";
import { quantise, type Value } from "./values.ts";
import type { World } from "./world.ts";

const scene = playScene(3);
const hashes: ReadonlyMap<number, number>[] = [];
const pages: LogPage[] = [];
for (const node of [scene.pair.server, ...scene.pair.clients]) {
  node.engine.stateHash().then((answer) => hashes.push(answer));
  node.engine.readLog({ level: "debug" }).then((page) => pages.push(page));
  node.engine.flush();
}
scene.pair.run(200);
const world = strangersWorld(scene.grants);
const nodes = [scene.pair.server, ...scene.pair.clients];
const ends = nodes.map((node) => scene.recording.readEngine(world, node));

Deno.test("engine link: all frames are whole, in order and of known kinds, over a run", () => {
  for (const end of ends) {
    assertEquals(end.pendingBytes, 0);
    assertEquals(end.messages[0]!.kind, "hello");
    assertEquals(end.messages[1]!.kind, "welcome");
    assertGreater(end.all("ping", "toEngine").length, 10);
    assertEquals(end.all("goodbye", "toEngine").length, 0);
    const pings = end.all("ping", "toEngine").map(({ fields }) => fields.time);
    const pongs = end.all("pong", "toDriver").map(({ fields }) => fields.time);
    assertEquals(pongs, pings.slice(0, pongs.length));
  }
});

Deno.test("engine link: heartbeats come every 250 ms, over a run", () => {
  for (const end of ends) {
    for (const way of ["toEngine", "toDriver"] as const) {
      const at = end.messages.filter((m) => m.kind === "ping" && m.way === way).map((m) => m.atMs);
      const gaps = at.slice(1).map((ms, i) => ms - at[i]!);
      // The harness looks at its timers every 100 ms.
      assert(Math.max(...gaps) <= 350, `${way}: ${Math.max(...gaps)} ms`);
    }
  }
});

/** A component as game code has it, quantised by the page. */
function engineValue(end: EngineEnd, handle: number, component: number, from: ReferenceWorld) {
  const { name, fields } = world.components[component]!;
  const values = from.read(handle, name)!;
  return fields.map((field) => {
    const given = values[field.name];
    if (given === undefined) return undefined;
    return quantise(field, field.kind === "entity" && given ? end.ids.get(given as number) : given);
  });
}

Deno.test("engine link: entities, owners and values are those of the engines' worlds, over a run", () => {
  for (const [i, end] of ends.entries()) {
    const { engine, world: engineWorld } = nodes[i]!;
    assertGreater(end.entities.size, 4);
    for (const [handle, entity] of end.entities) {
      assertEquals(end.ids.get(handle), engine.networkIdOf(handle));
      assertEquals(entity.owner, engine.ownerOf(handle), `owner of ${handle} at ${i}`);
      for (const [component, value] of entity.components) {
        const held = engineValue(end, handle, component, engineWorld);
        value.fields.forEach((field, f) => {
          const what = `engine ${i}: field ${f} of component ${component} of ${handle}`;
          assertEquals(String(field), String(held[f]), what);
        });
      }
    }
    for (const handle of engineWorld.handles()) {
      assertEquals(end.entities.has(handle), engine.networkIdOf(handle) !== 0);
    }
  }
});

Deno.test("engine link: state hashes are those of the values on the link, as the page defines them", async () => {
  await Promise.resolve();
  assertEquals(hashes.length, ends.length);
  let compared = 0;
  for (const [i, end] of ends.entries()) {
    const answer = end.all("stateHash", "toEngine").at(-1)!.fields.pairs as number[][];
    assertEquals(new Map(answer.map(([handle, hash]) => [handle!, hash!])), hashes[i]);
    for (const [handle, hash] of answer) {
      const { components } = end.entities.get(handle!)!;
      // What is out of view keeps a value in the engine that the driver may hold no longer.
      if ([...components.values()].some((value) => value.hidden)) continue;
      const ids = world.components.map((component) => component.id);
      const isOwn = handle! < 0x8000_0000;
      const values = ids.map((_, c) => {
        const fields = components.get(c)?.fields as Value | undefined;
        return isOwn ? wholeValue(world, c, fields) : fields && [...fields];
      });
      assertEquals(hashOf(ids, values), hash, `engine ${i}, handle ${handle}`);
      compared += 1;
    }
  }
  assertGreater(compared, 10);
});

Deno.test("engine link: entries of the log are those that the engine reads, over a run", async () => {
  await Promise.resolve();
  assertEquals(pages.length, ends.length);
  for (const [i, end] of ends.entries()) {
    const { entries, next } = end.all("log", "toEngine").at(-1)!.fields;
    const page = pages[i]!;
    const held = page.entries.map(({ sequence, code, count, numbers }) =>
      [sequence, code, count, ...numbers].join()
    );
    assertGreater(held.length, 3);
    assertEquals((entries as number[][]).map(([s, _, ...rest]) => [s, ...rest].join()), held);
    assertEquals(next, page.next);
  }
});

/** A value of which the engine set only some fields: the others are neutral. */
function wholeValue(of: World, component: number, value: Value | undefined): Value | undefined {
  if (value === undefined) return undefined;
  return of.components[component]!.fields.map((field, i) => {
    const neutral = { vec3: [0, 0, 0], quat: [0, 0, 0, 1], string: "", bytes: new Uint8Array(0) };
    const given = neutral[field.kind as keyof typeof neutral];
    return value[i] ?? quantise(field, given ?? Math.min(Math.max(0, field.min), field.max));
  });
}

Deno.test("engine link: channel pieces keep to their windows, over a run", () => {
  let sent = 0;
  for (const end of ends) {
    const windows = new Map<string, number>();
    for (const { kind, way, fields } of end.messages) {
      const other = way === "toEngine" ? "toDriver" : "toEngine";
      const key = (of: string) => `${of} ${fields.channel}`;
      if (kind === "channelData") {
        const left = windows.get(key(way)) ?? 262_144;
        assertGreater(left, 0);
        sent += (fields.piece as Uint8Array).length;
        windows.set(key(way), left - (fields.piece as Uint8Array).length);
      }
      if (kind === "channelCredit") {
        const left = (windows.get(key(other)) ?? 262_144) + (fields.bytes as number);
        assert(left <= 262_144, "a window never grows above its first size");
        windows.set(key(other), left);
      }
    }
  }
  assertGreater(sent, 400_000);
});

/** Values of messages in one form: packed lists as lists, one element or a group each. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return value.toHex();
  if (value instanceof Uint32Array || value instanceof Float64Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  return value;
}

/** Shapes that the page writes as one array and the engine's types as an object. */
function asPage(message: ToEngine | ToDriver): Record<string, unknown> {
  const { kind: _, ...fields } = message;
  if (message.kind === "denied") return { denial: Object.values(message.denial) };
  if (message.kind === "welcome" && message.connect !== undefined) {
    const { url, pin, credential } = message.connect;
    return { ...fields, connect: [url, pin, credential] };
  }
  return fields;
}

Deno.test("`readMessage()` reads every kind as the driver writes it, when samples hold every kind", () => {
  const samples = [
    ...TO_ENGINE_SAMPLES.map((m) => ["toEngine", m, encodeToEngine(m)] as const),
    ...TO_DRIVER_SAMPLES.map((m) => ["toDriver", m, encodeToDriver(m)] as const),
  ];
  const kinds = { toEngine: new Set<string>(), toDriver: new Set<string>() };
  const anyWorld = strangersWorld(sampleGrants());
  for (const [way, message, bytes] of samples) {
    kinds[way].add(message.kind);
    // Rows of samples are of no world; the run above has real ones.
    if (message.kind === "batch" && message.components.length > 0) continue;
    const read = readMessage(bytes, way, anyWorld);
    assertEquals(read.kind, message.kind);
    const page = asPage(message);
    for (const [name, value] of Object.entries(read.fields)) {
      const flat = JSON.stringify([plain(value)].flat(3));
      assertEquals(flat, JSON.stringify([plain(page[name])].flat(3)), `${read.kind}.${name}`);
    }
    assertEquals(Object.keys(read.fields).toSorted(), Object.keys(page).toSorted());
  }
  assertEquals(kinds.toEngine.size, 28);
  assertEquals(kinds.toDriver.size, 19);
});

Deno.test("`readMessagePack()` refuses longer forms, ext types, maps and what nests too deep, when fed by hand", () => {
  const fault = (...bytes: number[]) => {
    try {
      readMessagePack(Uint8Array.from(bytes));
    } catch (error) {
      if (error instanceof Malformed) return error.fault;
      throw error;
    }
    return "none";
  };
  assertEquals(fault(0xcc, 5), "NonCanonical");
  assertEquals(fault(0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0), "NonCanonical");
  assertEquals(fault(0xd9, 1, 0x61), "NonCanonical");
  assertEquals(fault(0x80), "UnknownKind");
  assertEquals(fault(0xd4, 1, 1), "UnknownKind");
  assertEquals(fault(0xcf, 0, 0, 0, 0, 0, 0, 0, 1), "UnknownKind");
  assertEquals(fault(5, 5), "Trailing");
  assertEquals(fault(0x92, 5), "Truncated");
  assertEquals(fault(...new Array<number>(MAX_MSGPACK_DEPTH).fill(0x91), 5), "none");
  assertEquals(fault(...new Array<number>(MAX_MSGPACK_DEPTH + 1).fill(0x91), 5), "OutOfRange");
});

Deno.test("`FrameSplitter` gives the same frames, when bytes come one by one", () => {
  const bytes = Uint8Array.from([1, 0, 0, 0, 7, 2, 0, 0, 0, 8, 9]);
  const whole = new FrameSplitter().read(bytes);
  const split = new FrameSplitter();
  assertEquals([...bytes].flatMap((byte) => split.read(Uint8Array.of(byte))), whole);
  assertEquals(whole.map((body) => [...body]), [[7], [8, 9]]);
});
