// The engine link (docs/PROTOCOL.md chapter 2): frames, the two tables of kinds word for word as the page has them, and component rows. What a
// message may mean now (2.6) is the business of `engine_end.ts`.

import { Malformed, rule, textOf } from "./bits.ts";
import { type Item, readMessagePack } from "./msgpack.ts";
import type { Field, Layout, World } from "./world.ts";

/** A message: its kind and its fields by name. */
export interface Message {
  readonly kind: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Rows of one component. */
export interface Rows {
  readonly component: number;
  readonly handles: readonly number[];
  readonly masks: readonly number[];
  readonly rows: readonly Row[];
  readonly times: readonly number[];
}

/** Values of one row by field index, as the engine gives them: numbers, lists of numbers, texts, bytes. */
export type Row = readonly unknown[];

type Check = (item: Item, world: World) => unknown;

// ---- field types (2.2)

function whole(least: number, most: number): Check {
  return (item) => {
    rule(typeof item === "number" && Number.isInteger(item), "UnknownKind", "whole number");
    rule(item >= least && item <= most, "OutOfRange", `${item}`);
    return item;
  };
}

function str(least: number, most: number): Check {
  return (item) => {
    rule(typeof item === "string", "UnknownKind", "text");
    const { length } = new TextEncoder().encode(item);
    rule(length >= least && length <= most, "OutOfRange", `text of ${length} bytes`);
    return item;
  };
}

function oneOf(...words: readonly string[]): Check {
  return (item) => {
    rule(typeof item === "string" && words.includes(item), "UnknownKind", `${item}`);
    return item;
  };
}

function matching(pattern: RegExp): Check {
  return (item) => {
    rule(typeof item === "string" && pattern.test(item), "UnknownKind", `${item}`);
    return item;
  };
}

function bin(least: number, most: number): Check {
  return (item) => {
    rule(item instanceof Uint8Array, "UnknownKind", "bin");
    rule(item.length >= least && item.length <= most, "OutOfRange", `${item.length} bytes`);
    return item;
  };
}

function words(item: Item): number[] {
  rule(item instanceof Uint8Array && item.length % 4 === 0, "OutOfRange", "packed u32");
  const view = new DataView(item.buffer, item.byteOffset, item.length);
  return Array.from({ length: item.length / 4 }, (_, i) => view.getUint32(4 * i, true));
}

/** `[x]`: a flat list; `[x, y]`: a list of groups. */
function packed(...types: readonly Check[]): Check {
  return (item, world) => {
    const flat = words(item);
    rule(flat.length % types.length === 0, "OutOfRange", "packed groups");
    rule(flat.length / types.length <= 131_072, "OutOfRange", "packed groups");
    const groups: unknown[][] = [];
    for (let at = 0; at < flat.length; at += types.length) {
      groups.push(types.map((type, i) => type(flat[at + i]!, world)));
    }
    return types.length === 1 ? groups.flat() : groups;
  };
}

const doubles: Check = (item) => {
  rule(item instanceof Uint8Array && item.length % 8 === 0, "OutOfRange", "packed doubles");
  const view = new DataView(item.buffer, item.byteOffset, item.length);
  return Array.from({ length: item.length / 8 }, (_, i) => {
    const value = view.getFloat64(8 * i, true);
    rule(Number.isFinite(value), "OutOfRange", "a number that is not finite");
    return value;
  });
};

function list(type: Check): Check {
  return (item, world) => {
    rule(Array.isArray(item), "UnknownKind", "array");
    return item.map((entry) => type(entry, world));
  };
}

function tuple(...types: readonly Check[]): Check {
  return (item, world) => {
    rule(Array.isArray(item) && item.length === types.length, "UnknownKind", "array of a length");
    return types.map((type, i) => type(item[i]!, world));
  };
}

function maybe(type: Check): Check {
  return (item, world) => item === null ? undefined : type(item, world);
}

const u8 = whole(0, 0xff);
const u16 = whole(0, 0xffff);
const u32 = whole(0, 0xffff_ffff);
const u31 = whole(0, 0x7fff_ffff);
const time = whole(0, 2 ** 38 - 1);
const text = str(0, 256);
const text64 = str(1, 64);
const name = str(0, 64);
const hash = matching(/^[0-9a-f]{64}$/);
const maybeHash = matching(/^([0-9a-f]{64})?$/);
const peer = u16;
const role = whole(0, 16_383);
const declared = whole(1, 16_383);
const handle = whole(1, 0xffff_ffff);
const ours = whole(1, 0x7fff_ffff);
const theirs = whole(0x8000_0000, 0xffff_ffff);
const word = matching(/^[A-Za-z0-9_]{1,32}$/);
const number: Check = (item) => {
  rule(typeof item === "number", "UnknownKind", "number");
  return item;
};
const flag: Check = (item) => {
  rule(typeof item === "boolean", "UnknownKind", "flag");
  return item;
};
const credit = whole(1, 262_144);
const frame = bin(1, 1_275);
const resume = bin(0, 131_072);
const piece = bin(0, 65_536);
const eventRow = bin(0, 8_688);

/** Used nonces, 20 bytes each. */
function records(least: number): Check {
  return (item, world) => {
    const bytes = bin(20 * least, 20 * 16_384)(item, world) as Uint8Array;
    rule(bytes.length % 20 === 0, "Truncated", "half a nonce");
    return bytes;
  };
}

/** Component ids with the masks of what was granted and revoked: read, read, write, write. */
const adjustments: Check = (item, world) => {
  const groups = packed(declared, u31, u31, u31, u31)(item, world) as number[][];
  rule(groups.length <= 256, "OutOfRange", `${groups.length} adjustments`);
  groups.forEach(([id, ...masks], i) => {
    rule(i === 0 || id! > groups[i - 1]![0]!, "NonCanonical", "order of adjustments");
    rule(masks.some((one) => one !== 0), "NonCanonical", "an adjustment of nothing");
    const [a, b, c, d] = masks as [number, number, number, number];
    rule((a & b) === 0 && (c & d) === 0, "NonCanonical", "granted and revoked");
  });
  return groups;
};

const signature: Check = (item, world) => {
  const bytes = bin(0, 64)(item, world) as Uint8Array;
  rule(bytes.length === 0 || bytes.length === 64, "OutOfRange", "signature");
  return bytes;
};

/** Component rows; `timed` from the driver. */
function rows(timed: boolean): Check {
  return (item, world) => {
    const [component, handles, masks, bytes, times] = tuple(
      declared,
      packed(handle),
      packed(u31),
      bin(0, 2 ** 24),
      doubles,
    )(item, world) as [number, number[], number[], Uint8Array, number[]];
    rule(handles.length > 0, "OutOfRange", "no rows");
    rule(masks.length === handles.length, "OutOfRange", "one mask a row");
    rule(times.length === (timed ? handles.length : 0), "OutOfRange", "one time a row");
    const layout = world.components.find((c) => c.id === component);
    rule(layout !== undefined, "UnknownId", `component ${component}`);
    const reader = new RowReader(bytes);
    const values = masks.map((mask) => reader.row(layout, mask));
    reader.end();
    return { component, handles, masks, rows: values, times } satisfies Rows;
  };
}

const stats: Check = (item) => {
  rule(Array.isArray(item) && item.length % 2 === 0 && item.length <= 512, "OutOfRange", "stats");
  const values: Record<string, number> = {};
  let before = "";
  for (let i = 0; i < item.length; i += 2) {
    const key = item[i];
    const value = item[i + 1];
    const isName = typeof key === "string" && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(key);
    rule(isName && typeof value === "number", "UnknownKind", `${key}`);
    rule(key > before, "NonCanonical", "names ascend");
    before = key;
    values[key] = value;
  }
  return values;
};

const position: Check = (item, world) => {
  const values = doubles(item, world) as number[];
  rule(values.length === 0 || values.length === 3, "OutOfRange", "position");
  return values;
};

/** Entries of the log: sequence, age, code, count, four numbers. */
const logEntries: Check = (item, world) => {
  const any = whole(1, 0xffff_ffff);
  const groups = packed(any, u32, whole(1, 0xffff), any, u32, u32, u32, u32)(
    item,
    world,
  ) as number[][];
  rule(groups.length <= 256, "OutOfRange", `${groups.length} entries`);
  groups.forEach(([sequence], i) =>
    rule(i === 0 || sequence! > groups[i - 1]![0]!, "NonCanonical", "order of entries")
  );
  return groups;
};

// ---- kinds (2.4, 2.5)

type Kind = readonly [kind: string, ...fields: (readonly [string, Check])[]];

const DENIAL = tuple(oneOf("driver", "remote"), word, peer, word, u16, u31, u32, u32);

/** Driver to engine. */
const TO_ENGINE: Readonly<Record<number, Kind>> = {
  1: [
    "hello",
    ["linkVersion", u16],
    ["role", oneOf("server", "client", "loopback")],
    ["schemaHash", hash],
    ["components", list(tuple(declared, text64, u16))],
    ["nodes", list(tuple(text64, oneOf("input", "output"), list(text64)))],
    ["certificateHash", maybeHash],
    ["listen", text],
    ["boot", u32],
  ],
  2: [
    "joined",
    ["peer", peer],
    ["roleId", role],
    ["resumed", flag],
    ["timeline", time],
    ["resume", resume],
    ["listen", text],
  ],
  3: ["left", ["code", u32], ["reason", text], ["final", flag]],
  4: [
    "batch",
    ["tick", u32],
    ["spawns", packed(handle)],
    ["spawnIds", packed(whole(1, 0xffff_ffff))],
    ["spawnOwners", packed(peer)],
    ["components", list(rows(true))],
    ["removes", packed(handle, declared)],
    ["hides", packed(handle, declared)],
    ["despawns", packed(handle)],
    ["owners", packed(handle, peer, u8)],
    ["zones", packed(handle, u8)],
  ],
  5: ["stamped", ["id", u32], ["time", time]],
  6: ["named", ["pairs", packed(ours, u32)]],
  7: ["spawnRefused", ["handle", ours], ["rule", text64]],
  8: ["peerJoin", ["peer", peer], ["roleId", role], ["resumed", flag]],
  9: ["peerLeave", ["peer", peer], ["reason", text]],
  10: ["roleChanged", ["peer", peer], ["roleId", role]],
  26: ["grantsChanged", ["adjustments", adjustments]],
  11: [
    "event",
    ["eventId", declared],
    ["from", peer],
    ["time", time],
    ["late", flag],
    ["row", eventRow],
  ],
  12: [
    "channelOpen",
    ["channel", theirs],
    ["channelId", declared],
    ["name", name],
    ["peer", peer],
  ],
  13: ["channelData", ["channel", u32], ["piece", piece], ["last", flag]],
  14: ["channelCredit", ["channel", u32], ["bytes", credit]],
  15: ["channelClose", ["channel", u32], ["reason", text]],
  16: [
    "voice",
    ["handle", handle],
    ["sequence", u16],
    ["time", time],
    ["position", position],
    ["frame", frame],
  ],
  17: ["denied", ["denial", DENIAL]],
  18: ["stats", ["values", stats]],
  19: ["stateHash", ["request", u32], ["pairs", packed(handle, u32)]],
  20: ["ping", ["time", number]],
  21: ["pong", ["time", number]],
  22: ["goodbye", ["code", u16], ["reason", text]],
  23: ["sign", ["request", u32], ["bytes", bin(1, 256)]],
  24: ["nonces", ["used", records(1)]],
  25: [
    "identity",
    ["peer", peer],
    ["token", bin(1, 4_096)],
    ["challenge", bin(32, 32)],
    ["pin", bin(32, 32)],
    ["signature", bin(64, 64)],
  ],
  30: ["log", ["request", u32], ["entries", logEntries], ["next", whole(1, 0xffff_ffff)]],
  31: [
    "violation",
    ["peer", peer],
    ["handle", u32],
    ["componentId", declared],
    ["field", whole(0, 30)],
    ["check", oneOf("bounds", "rate", "acceleration", "step", "speed")],
    ["measured", number],
    ["limit", number],
    ["action", oneOf("reject", "clamp", "report")],
    ["count", whole(1, 0xffff_ffff)],
  ],
};

/** Engine to driver. */
const TO_DRIVER: Readonly<Record<number, Kind>> = {
  64: [
    "welcome",
    ["linkVersion", u16],
    ["schemaHash", hash],
    ["connect", maybe(tuple(text, maybeHash, bin(0, 4_096)))],
    ["resume", resume],
    ["nonces", records(0)],
    ["entities", packed(handle, u32)],
  ],
  65: [
    "batch",
    ["id", u32],
    ["spawns", packed(ours)],
    ["spawnOwners", packed(peer)],
    ["components", list(rows(false))],
    ["removes", packed(handle, declared)],
    ["despawns", packed(handle)],
    ["zones", packed(handle, u8)],
  ],
  66: ["event", ["eventId", declared], ["to", peer], ["row", eventRow]],
  67: ["channelOpen", ["channel", ours], ["channelId", declared], ["name", name], ["peer", peer]],
  68: ["channelData", ["channel", u32], ["piece", piece], ["last", flag]],
  69: ["channelCredit", ["channel", u32], ["bytes", credit]],
  70: ["channelClose", ["channel", u32], ["reason", text]],
  71: ["voice", ["handle", handle], ["frame", frame]],
  72: ["setRole", ["peer", peer], ["roleId", role]],
  81: [
    "setGrants",
    ["peer", peer],
    ["componentId", declared],
    ["readGranted", u31],
    ["readRevoked", u31],
    ["writeGranted", u31],
    ["writeRevoked", u31],
  ],
  73: ["transfer", ["handle", handle], ["peer", peer]],
  74: ["kick", ["peer", peer], ["reason", text]],
  75: ["stateHash", ["request", u32]],
  76: ["ping", ["time", number]],
  77: ["pong", ["time", number]],
  78: ["goodbye", ["code", u16], ["reason", text]],
  80: ["signed", ["request", u32], ["credential", bin(0, 4_096)], ["signature", signature]],
  79: ["resend", ["pairs", packed(handle, declared)]],
  90: ["readLog", ["request", u32], ["level", oneOf("error", "warn", "info", "debug")], [
    "since",
    u32,
  ]],
};

/** The body of one frame. */
export function readMessage(body: Uint8Array, way: "toEngine" | "toDriver", world: World): Message {
  const item = readMessagePack(body);
  rule(Array.isArray(item) && typeof item[0] === "number", "UnknownKind", "not a message");
  const kind = (way === "toEngine" ? TO_ENGINE : TO_DRIVER)[item[0]];
  rule(kind !== undefined, "UnknownKind", `kind ${item[0]}`);
  const [title, ...types] = kind;
  rule(item.length === 1 + types.length, "UnknownKind", `fields of ${title}`);
  const fields: Record<string, unknown> = {};
  types.forEach(([field, check], i) => {
    try {
      fields[field] = check(item[i + 1]!, world);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      throw new Malformed(error.fault, `${title}.${field}: ${error.message}`);
    }
  });
  checkBetween(fields);
  return { kind: title, fields };
}

/** The rules between fields. */
function checkBetween(fields: Readonly<Record<string, unknown>>): void {
  const { entries, next } = fields as { entries?: number[][]; next?: number };
  const { readGranted, readRevoked, writeGranted, writeRevoked } = fields as Record<string, number>;
  if (readGranted !== undefined) {
    const isBoth = (readGranted & readRevoked!) !== 0 || (writeGranted! & writeRevoked!) !== 0;
    rule(!isBoth, "NonCanonical", "granted and revoked");
  }
  const last = entries?.at(-1)?.[0];
  if (last !== undefined) rule(last < next!, "OutOfRange", "next");
  const { spawns, spawnIds, spawnOwners, components } = fields as Record<string, unknown[]>;
  if (spawns === undefined) return;
  rule(spawnOwners!.length === spawns.length, "OutOfRange", "one owner a spawn");
  rule((spawnIds ?? spawns).length === spawns.length, "OutOfRange", "one id a spawn");
  const ids = (components as Rows[]).map((c) => c.component);
  ids.forEach((id, i) => rule(i === 0 || id > ids[i - 1]!, "NonCanonical", "order of components"));
}

/** The row of an event, all fields. */
export function readEventRow(bytes: Uint8Array, layout: Layout): Row {
  const reader = new RowReader(bytes);
  const row = reader.row(layout, 2 ** layout.fields.length - 1);
  reader.end();
  return row;
}

const SIZES: Readonly<Record<string, number>> = {
  bool: 1,
  u8: 1,
  u16: 2,
  enum: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  entity: 4,
  vec3: 12,
  quat: 16,
};

/** Bytes of the fixed part of a row. */
export function rowBytes(layout: Layout): number {
  return layout.fields.reduce((sum, field) => sum + (SIZES[field.kind] ?? 0), 0);
}

/** Packed rows, one after another. */
class RowReader {
  #at = 0;
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  row(layout: Layout, mask: number): Row {
    const values: unknown[] = [];
    layout.fields.forEach((field, i) => {
      const size = SIZES[field.kind];
      if (size === undefined) return;
      const bytes = this.#take(size);
      const isCarried = (mask >>> i) % 2 === 1;
      rule(isCarried || bytes.every((b) => b === 0), "NonCanonical", "field outside the mask");
      if (isCarried) values[i] = this.#fixed(field, this.#at - size);
    });
    layout.fields.forEach((field, i) => {
      if (SIZES[field.kind] !== undefined) return;
      this.#take(4);
      const bytes = this.#take(this.#view.getUint32(this.#at - 4, true));
      const isCarried = (mask >>> i) % 2 === 1;
      rule(isCarried || bytes.length === 0, "NonCanonical", "field outside the mask");
      rule(bytes.length <= field.maxBytes, "OutOfRange", `${bytes.length} bytes`);
      if (isCarried) values[i] = field.kind === "string" ? textOf(bytes) : bytes;
    });
    return values;
  }

  end(): void {
    rule(this.#at === this.bytes.length, "Trailing", "bytes after the rows");
  }

  #take(length: number): Uint8Array {
    rule(this.#at + length <= this.bytes.length, "Truncated", "row");
    this.#at += length;
    return this.bytes.slice(this.#at - length, this.#at);
  }

  #fixed(field: Field, at: number): unknown {
    const view = this.#view;
    const floats = (count: number) =>
      Array.from({ length: count }, (_, i) => view.getFloat32(at + 4 * i, true));
    switch (field.kind) {
      case "bool":
        rule(view.getUint8(at) <= 1, "OutOfRange", "bool");
        return view.getUint8(at) === 1;
      case "u8":
        return view.getUint8(at);
      case "u16":
      case "enum":
        return view.getUint16(at, true);
      case "i32":
        return view.getInt32(at, true);
      case "f32":
        return floats(1)[0];
      case "vec3":
        return floats(3);
      case "quat":
        return floats(4);
      default:
        return view.getUint32(at, true);
    }
  }
}

/** Frames out of any chunking. */
export class FrameSplitter {
  #rest = new Uint8Array(0);

  /** Takes bytes; gives the bodies of the frames that are whole. */
  read(chunk: Uint8Array): Uint8Array[] {
    const all = new Uint8Array(this.#rest.length + chunk.length);
    all.set(this.#rest);
    all.set(chunk, this.#rest.length);
    const view = new DataView(all.buffer);
    const bodies: Uint8Array[] = [];
    let at = 0;
    while (at + 4 <= all.length) {
      const length = view.getUint32(at, true);
      rule(length >= 1 && length <= 16 * 1024 * 1024, "OutOfRange", `frame of ${length} bytes`);
      if (at + 4 + length > all.length) break;
      bodies.push(all.slice(at + 4, at + 4 + length));
      at += 4 + length;
    }
    this.#rest = all.slice(at);
    return bodies;
  }

  /** Bytes of a frame that is not whole. */
  get pendingBytes(): number {
    return this.#rest.length;
  }
}
