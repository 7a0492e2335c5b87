// A client's driver written from docs/PROTOCOL.md alone, as small as it can be: it joins, owns one entity with one component, keeps telling it until
// it is acknowledged, acknowledges what it takes, speaks, and sends events. It shares no code with the driver.

import { BitWriter, fold } from "./bit_writer.ts";
import { widthOf } from "./bits.ts";
import type { DriverEnd } from "./driver_end.ts";
import { type FieldValue, quantise, type Value } from "./values.ts";
import { historyTicks, largestLane, type Layout, type World } from "./world.ts";

/** What it sends bytes through. */
export interface StrangerPort {
  datagram(bytes: Uint8Array): void;
  control(bytes: Uint8Array): void;
}

interface Sent {
  readonly tick: number;
  readonly hasHeader: boolean;
  readonly value: Value | undefined;
}

/** See the head of this file. */
export class Stranger {
  /** Everything that passed at its end, and so what it has to acknowledge. */
  readonly end: DriverEnd;
  readonly #world: World;
  readonly #port: StrangerPort;
  readonly #component: number;
  readonly #sent = new Map<number, Sent>();
  #id = 0;
  #value: Value | undefined;
  #sampleTime = 0;
  /** The version that the present value got when it was first sent. */
  #version: number | undefined;
  #lastTick = -1;
  #voice = 0;
  #pendingVoice: Uint8Array[] = [];
  /** Values that went as a change of an acknowledged one. */
  changes = 0;

  /** A driver that will own one entity with the component of this name. */
  constructor(world: World, end: DriverEnd, port: StrangerPort, component: string) {
    this.#world = world;
    this.end = end;
    this.#port = port;
    this.#component = world.components.findIndex((c) => c.name === component);
  }

  /** The id of its entity. */
  get id(): number {
    return this.#id;
  }

  /** Asks to join. */
  join(): void {
    const body = new BitWriter().bits(8, 1).varint(2);
    body.bytes(Uint8Array.fromHex(this.#world.schemaHash)).bits(8, 0).bits(8, 0);
    // Padded to 256 bytes: 36 are in use.
    this.#control(body.bytes(new Uint8Array(220)));
  }

  /** Says goodbye. */
  bye(): void {
    this.#control(new BitWriter().bits(8, 10).varint(0).varint(0));
  }

  /** Its entity has this value from now on. */
  set(values: Readonly<Record<string, unknown>>, time: number): void {
    const { fields } = this.#world.components[this.#component]!;
    this.#value = fields.map((field) => quantise(field, values[field.name]));
    this.#sampleTime = time;
    this.#version = undefined;
  }

  /** Speaks one frame with the next datagram. */
  speak(frame: Uint8Array): void {
    this.#pendingVoice.push(frame);
  }

  /** Sends an event whose fields are given as lanes and bytes. */
  event(id: number, time: number, value: Value): void {
    const layout = this.#world.events.find((e) => e.id === id)!;
    const payload = new BitWriter();
    absolute(payload, layout, value);
    const bytes = payload.finish();
    const body = new BitWriter().bits(8, 9).varint(id).bits(16, 0);
    body.bits(32, Math.floor(time / 64)).bits(8, time % 64).varint(0);
    body.varint(bytes.length).bytes(bytes);
    this.#control(body);
  }

  /** One send slot at this timeline time; `nowMs` is its own clock. */
  slot(time: number, nowMs: number): void {
    if (this.#id === 0) {
      const accepted = this.end.controlIn.find((message) => message.kind === "accepted")!;
      this.#id = accepted.ids[0]!;
    }
    const tick = Math.floor(time / 64);
    // One version of a component never has two contents, and a version is a tick.
    if (tick <= this.#lastTick) return;
    this.#lastTick = tick;
    const w = new BitWriter();
    const number = this.end.sent;
    w.bits(3, this.end.worldEpoch % 8).bits(2, this.end.received.size === 0 ? 0 : 1);
    w.bits(16, number % 65_536).bits(16, tick % 65_536).bits(6, time % 64);
    if (this.end.received.size > 0) this.#acknowledge(w, nowMs);
    const header = w.finish();
    const snapshot = this.#snapshot(tick, number);
    const parts = [header];
    if (snapshot !== undefined) parts.push(section(1, snapshot));
    if (this.#pendingVoice.length > 0) parts.push(section(2, this.#frames()));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    this.#port.datagram(bytes);
  }

  #control(body: BitWriter): void {
    const bytes = body.finish();
    this.#port.control(new BitWriter().varint(bytes.length).bytes(bytes).finish());
  }

  #acknowledge(w: BitWriter, nowMs: number): void {
    const { received } = this.end;
    const largest = Math.max(...received.keys());
    const runs: number[] = [];
    let isRun = true;
    for (let at = largest, length = 0; at > largest - 256 && runs.length < 31; at--) {
      if (received.has(at) !== isRun) {
        runs.push(length);
        length = 0;
        isRun = !isRun;
      }
      length += 1;
      const isEnd = at === Math.max(0, largest - 255);
      if (isEnd && isRun) runs.push(length);
      if (isEnd) break;
    }
    const delay = Math.min(65_535, Math.floor((nowMs - received.get(largest)!.atMs) * 8));
    w.bits(4, (runs.length - 1) / 2).bits(16, largest % 65_536).bits(16, delay);
    for (const length of runs) w.bits(8, length - 1);
  }

  #frames(): Uint8Array {
    const w = new BitWriter();
    for (const payload of this.#pendingVoice.splice(0)) {
      w.bits(2, 0).bits(2, Math.floor(this.#id / 2 ** 20) % 4).bits(12, payload.length);
      w.bits(16, this.#voice++).varint(this.#id % 2 ** 20).varint(0).bytes(payload);
    }
    return w.finish();
  }

  #snapshot(tick: number, number: number): Uint8Array | undefined {
    const value = this.#value;
    if (value === undefined) return undefined;
    const acknowledged = [...this.#sent].filter(([n]) => this.end.acknowledgedByPeer.has(n));
    const hasHeader = !acknowledged.some(([, sent]) => sent.hasHeader);
    if (acknowledged.some(([, sent]) => sent.value === value)) return undefined;
    this.#version ??= tick;
    const version = this.#version;
    const w = new BitWriter().bits(8, this.end.grantEpoch).bool(true).gamma(this.#id);
    w.bool(hasHeader);
    const index = widthOf(this.#world.components.length - 1);
    if (hasHeader) {
      w.bits(2, 0).bits(16, this.end.peer).bits(8, 0);
      w.bool(true).bits(index, this.#component).bool(false).bool(false);
    } else w.bits(8, this.end.snapshots.entities.get(this.#id)?.header?.epoch ?? 0);
    w.bool(true).bits(index, this.#component);
    w.bool(version < tick);
    if (version < tick) w.gamma(tick - version);
    const offset = 64 * version - this.#sampleTime;
    const writeOffset = () => {
      w.bool(offset !== 0);
      if (offset !== 0) w.signed(offset);
    };
    const layout = this.#world.components[this.#component]!;
    const history = historyTicks(this.#world);
    const reference = acknowledged.findLast(([, sent]) =>
      sent.value !== undefined && sent.tick < version && tick - sent.tick <= history
    )?.[1];
    const differs = reference?.value?.some((field, i) => String(field) !== String(value[i]));
    if (reference?.value !== undefined && differs === true) {
      w.bool(true).bits(2, 0).bits(widthOf(history), tick - reference.tick)
        .bool(false);
      writeOffset();
      change(w, layout, reference.value, value);
      this.changes += 1;
    } else {
      w.bool(true).bits(2, 2);
      writeOffset();
      absolute(w, layout, value);
    }
    w.bool(false).bool(false);
    this.#sent.set(number, { tick: version, hasHeader, value });
    return w.finish();
  }
}

function section(type: number, body: Uint8Array): Uint8Array {
  return new BitWriter().bits(4, type).bits(12, body.length).bytes(body).finish();
}

/** A field as it is. */
function whole(w: BitWriter, layout: Layout, i: number, value: FieldValue): void {
  const field = layout.fields[i]!;
  if (value instanceof Uint8Array) w.varint(value.length).bytes(value);
  else if (field.kind === "quat") {
    value.forEach((lane, at) => w.bits(at === 0 ? 2 : field.bits, lane));
  } else for (const lane of value) w.bits(widthOf(largestLane(field)), lane);
}

function absolute(w: BitWriter, layout: Layout, value: Value): void {
  w.bits(layout.fields.length, 2 ** layout.fields.length - 1);
  layout.fields.forEach((_, i) => whole(w, layout, i, value[i]!));
}

function change(w: BitWriter, layout: Layout, from: Value, to: Value): void {
  const changed = layout.fields.map((_, i) => String(from[i]) !== String(to[i]));
  for (const isChanged of changed) w.bool(isChanged);
  layout.fields.forEach((field, i) => {
    if (!changed[i]) return;
    const a = from[i] as readonly number[];
    const b = to[i] as readonly number[];
    if (field.kind === "quat") {
      w.bool(a[0] !== b[0]);
      if (a[0] !== b[0]) whole(w, layout, i, b);
      else block(w, a.slice(1), b.slice(1), field.bits);
    } else if (["f32", "vec3", "u32", "i32", "u16"].includes(field.kind)) {
      block(w, a, b, widthOf(largestLane(field)));
    } else whole(w, layout, i, b);
  });
}

function block(
  w: BitWriter,
  from: readonly number[],
  to: readonly number[],
  width: number,
): void {
  const z = to.map((lane, i) => fold((lane - from[i]!) | 0));
  const n = widthOf(Math.max(...z));
  w.bits(5, n < width ? n : 0);
  to.forEach((lane, i) => n < width ? w.bits(n, z[i]!) : w.bits(width, lane));
}
