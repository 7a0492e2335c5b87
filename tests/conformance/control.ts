// The control stream and the streams of reliable channels (docs/PROTOCOL.md 3.2, 7.1, 7.2), from bytes in any chunking to messages.

import { Bits, Malformed, rule, textOf } from "./bits.ts";
import { readAbsolute, type Value } from "./values.ts";
import type { World } from "./world.ts";

/** What a peer was granted and what was revoked from it, of one component: masks of fields. */
export interface Adjustment {
  component: number;
  readGranted: number;
  readRevoked: number;
  writeGranted: number;
  writeRevoked: number;
}

/** One message of the control stream. */
export type Control =
  | {
    kind: "join";
    version: number;
    schemaHash: string;
    credential: number;
    resume: { peer: number; secret: Uint8Array } | undefined;
  }
  | {
    kind: "accepted";
    peer: number;
    role: number;
    resumed: boolean;
    secret: Uint8Array;
    grantEpoch: number;
    worldEpoch: number;
    authority: number;
    time: number;
    ids: number[];
    adjustments: Adjustment[];
  }
  | { kind: "challenge"; challenge: Uint8Array }
  | { kind: "proof"; token: Uint8Array; signature: Uint8Array }
  | { kind: "refused" | "bye"; code: number; reason: string }
  | { kind: "roster"; joins: { peer: number; role: number }[]; leaves: number[] }
  | { kind: "role"; peer: number; role: number; grantEpoch: number }
  | { kind: "grants"; grantEpoch: number; adjustment: Adjustment }
  | { kind: "entityIds"; ids: number[] }
  | { kind: "spawnRefused"; id: number; rule: number }
  | {
    kind: "denied";
    rule: number;
    subject: number;
    id: number;
    fields: number;
    entity: number;
    count: number;
  }
  | {
    kind: "event";
    event: number;
    from: number;
    time: number;
    stateTicks: number;
    value: Value;
  };

/** Towards the holder of authority, or from it. */
export type Way = "towards" | "from";

const FROM_ONLY = [2, 3, 4, 5, 6, 7, 8, 11, 13];
const FROM_NEVER = [1, 12];

/** Bytes that wait for the rest of what they belong to. */
class Pending {
  bytes = new Uint8Array(0);

  push(chunk: Uint8Array): void {
    const all = new Uint8Array(this.bytes.length + chunk.length);
    all.set(this.bytes);
    all.set(chunk, this.bytes.length);
    this.bytes = all;
  }

  /** What `read` makes of the front, or `undefined` when it is not all there; then nothing is taken. */
  take<T>(read: (bits: Bits) => T): T | undefined {
    const bits = new Bits(this.bytes);
    let value: T;
    try {
      value = read(bits);
    } catch (error) {
      if (error instanceof Malformed && error.fault === "Truncated") return undefined;
      throw error;
    }
    this.bytes = this.bytes.slice(this.bytes.length - bits.left / 8);
    return value;
  }
}

/** One half of a control stream. */
export class ControlHalf {
  readonly #pending = new Pending();
  readonly #world: World;
  readonly #way: Way;

  /** A half that nothing was read of. */
  constructor(world: World, way: Way) {
    this.#world = world;
    this.#way = way;
  }

  /** Bytes of a message that is not whole yet. */
  get pendingBytes(): number {
    return this.#pending.bytes.length;
  }

  /** Takes bytes; gives the messages that are whole. */
  read(chunk: Uint8Array): Control[] {
    this.#pending.push(chunk);
    const messages: Control[] = [];
    for (;;) {
      const body = this.#pending.take((bits) => {
        const length = bits.varint();
        rule(length >= 1 && length <= 32_768, "OutOfRange", `control message of ${length} bytes`);
        return bits.take(length);
      });
      if (body === undefined) return messages;
      messages.push(this.readBody(body));
    }
  }

  /** Reads the body of one frame. */
  readBody(body: Uint8Array): Control {
    const bits = new Bits(body);
    const message = readControl(bits, this.#way, this.#world);
    bits.end();
    return message;
  }
}

function readControl(bits: Bits, way: Way, world: World): Control {
  const kind = bits.u8();
  rule(kind >= 1 && kind <= 13, "UnknownKind", `control kind ${kind}`);
  rule(!(way === "towards" && FROM_ONLY.includes(kind)), "Unexpected", `kind ${kind} towards`);
  rule(!(way === "from" && FROM_NEVER.includes(kind)), "Unexpected", `kind ${kind} from`);
  switch (kind) {
    case 1:
      return readJoin(bits);
    case 2:
      return readAccepted(bits);
    case 3:
    case 10: {
      const code = bits.varint();
      rule(code < 2 ** 30, "OutOfRange", `code ${code}`);
      return { kind: kind === 3 ? "refused" : "bye", code, reason: bits.text(200) };
    }
    case 4:
      return readRoster(bits);
    case 5:
      return { kind: "role", peer: peer(bits), role: bits.declaredId(), grantEpoch: bits.u8() };
    case 13:
      return { kind: "grants", grantEpoch: bits.u8(), adjustment: readAdjustment(bits) };
    case 6: {
      const ids = readIds(bits);
      rule(ids.length > 0, "OutOfRange", "no entity ids");
      return { kind: "entityIds", ids };
    }
    case 7:
      return { kind: "spawnRefused", id: readEntityId(bits), rule: bits.u8() };
    case 11:
      return { kind: "challenge", challenge: bits.take(32) };
    case 12: {
      const length = bits.varint();
      rule(length >= 1 && length <= 4_096, "OutOfRange", `token of ${length} bytes`);
      return { kind: "proof", token: bits.take(length), signature: bits.take(64) };
    }
    case 8: {
      const denied = {
        kind: "denied",
        rule: bits.u8(),
        subject: bits.u8(),
        id: bits.declaredId(),
        fields: bits.u32(),
        entity: bits.u32(),
        count: bits.varint(),
      } as const;
      rule(denied.subject <= 6, "UnknownKind", `subject ${denied.subject}`);
      rule(denied.fields < 2 ** 31, "OutOfRange", "field mask");
      rule(denied.count >= 1, "OutOfRange", "count 0");
      return denied;
    }
    default:
      return readEvent(bits, way, world);
  }
}

/** A peer id that names someone. */
function peer(bits: Bits): number {
  const id = bits.u16();
  rule(id !== 65_535, "OutOfRange", "a peer id that names nobody");
  return id;
}

function readTime(bits: Bits): number {
  const tick = bits.u32();
  const subTick = bits.u8();
  rule(subTick <= 63, "OutOfRange", `sub-tick ${subTick}`);
  return tick * 64 + subTick;
}

function readEntityId(bits: Bits): number {
  const id = bits.u32();
  rule(id % 2 ** 20 !== 0, "OutOfRange", "slot 0");
  return id;
}

function readIds(bits: Bits): number[] {
  const count = bits.varint();
  rule(count <= 4_096, "OutOfRange", `${count} entity ids`);
  const ids = Array.from({ length: count }, () => readEntityId(bits));
  ids.forEach((id, i) => rule(i === 0 || id > ids[i - 1]!, "NonCanonical", "order of ids"));
  return ids;
}

function readJoin(bits: Bits): Control {
  const version = bits.varint();
  rule(version === 2, "Incompatible", `protocol version ${version}`);
  const schemaHash = bits.take(32).toHex();
  const credential = bits.u8();
  rule(credential <= 1, "UnknownKind", `credential ${credential}`);
  const resume = bits.flag() ? { peer: peer(bits), secret: bits.take(32) } : undefined;
  // The whole body has 256 bytes: what is left of it is zero.
  const used = 1 + 1 + 32 + 1 + (resume === undefined ? 1 : 35);
  rule(bits.take(256 - used).every((byte) => byte === 0), "NonCanonical", "padding of a join");
  return { kind: "join", version, schemaHash, credential, resume };
}

function readAccepted(bits: Bits): Control {
  return {
    kind: "accepted",
    peer: peer(bits),
    role: bits.declaredId(),
    resumed: bits.flag(),
    secret: bits.take(32),
    grantEpoch: bits.u8(),
    worldEpoch: bits.u32(),
    authority: peer(bits),
    time: readTime(bits),
    ids: readIds(bits),
    adjustments: readAdjustments(bits),
  };
}

function readAdjustments(bits: Bits): Adjustment[] {
  const count = bits.varint();
  rule(count <= 256, "OutOfRange", `${count} adjustments`);
  const all = Array.from({ length: count }, () => readAdjustment(bits));
  all.forEach((one, i) => {
    rule(i === 0 || one.component > all[i - 1]!.component, "NonCanonical", "order of adjustments");
    const masks = [one.readGranted, one.readRevoked, one.writeGranted, one.writeRevoked];
    rule(masks.some((mask) => mask !== 0), "NonCanonical", "an adjustment of nothing");
  });
  return all;
}

function readAdjustment(bits: Bits): Adjustment {
  const component = bits.declaredId();
  rule(component > 0, "OutOfRange", "component id 0");
  const mask = () => {
    const value = bits.u32();
    rule(value < 2 ** 31, "OutOfRange", `field mask ${value}`);
    return value;
  };
  const [readGranted, readRevoked, writeGranted, writeRevoked] = [mask(), mask(), mask(), mask()];
  const isBoth = (readGranted & readRevoked) !== 0 || (writeGranted & writeRevoked) !== 0;
  rule(!isBoth, "NonCanonical", "a field granted and revoked");
  return { component, readGranted, readRevoked, writeGranted, writeRevoked };
}

function readRoster(bits: Bits): Control {
  const count = () => {
    const value = bits.varint();
    rule(value <= 1_024, "OutOfRange", `${value} peers`);
    return value;
  };
  const joins = Array.from({ length: count() }, () => ({
    peer: peer(bits),
    role: bits.declaredId(),
  }));
  const leaves = Array.from({ length: count() }, () => peer(bits));
  for (const peers of [joins.map((j) => j.peer), leaves]) {
    peers.forEach((peer, i) => rule(i === 0 || peer > peers[i - 1]!, "NonCanonical", "peers"));
  }
  rule(!joins.some((j) => leaves.includes(j.peer)), "NonCanonical", "a peer in both lists");
  return { kind: "roster", joins, leaves };
}

function readEvent(bits: Bits, way: Way, world: World): Control {
  const event = bits.declaredId();
  const from = peer(bits);
  rule(way === "from" || from === 0, "OutOfRange", `event from ${from}`);
  const time = readTime(bits);
  const stateTicks = bits.varint();
  rule(stateTicks <= 2_047, "OutOfRange", `state ${stateTicks} ticks later`);
  const length = bits.varint();
  rule(length <= 8_192, "OutOfRange", `event of ${length} bytes`);
  const payload = new Bits(bits.take(length));
  const layout = world.events.find((e) => e.id === event);
  rule(layout !== undefined, "UnknownId", `event ${event}`);
  const value = layout.fields.length === 0 ? [] : readAbsolute(payload, layout);
  payload.end();
  rule(!value.includes(undefined), "NonCanonical", "a field of the event is missing");
  return { kind: "event", event, from, time, stateTicks, value };
}

/** One half of a reliable channel's stream. */
export class ChannelHalf {
  readonly #pending = new Pending();
  readonly #hasPreamble: boolean;
  #maxBytes: number;
  #parts: Uint8Array[] = [];
  /** Declared id and name, once the preamble was read. */
  opened: { channel: number; name: string } | undefined;
  /** Whole messages. */
  readonly messages: Uint8Array[] = [];

  /** The opener's half has a preamble; the other half gets `maxBytes` from it. */
  constructor(readonly world: World, hasPreamble: boolean, maxBytes = 0) {
    this.#hasPreamble = hasPreamble;
    this.#maxBytes = maxBytes;
  }

  /** Declared size of a message. */
  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** True where ending the half closes the channel; inside a message it is `Truncated`. */
  get isBetweenMessages(): boolean {
    return this.#pending.bytes.length === 0 && this.#parts.length === 0;
  }

  /** Takes bytes. */
  read(chunk: Uint8Array): void {
    this.#pending.push(chunk);
    if (this.#hasPreamble && this.opened === undefined) {
      this.opened = this.#pending.take((bits) => this.#preamble(bits));
      if (this.opened === undefined) return;
    }
    while (this.#pending.bytes.length > 0) {
      const piece = this.#pending.take((bits) => {
        const head = bits.varint();
        const length = Math.floor(head / 2);
        rule(length <= 65_536, "OutOfRange", `piece of ${length} bytes`);
        rule(head !== 0, "NonCanonical", "empty piece that is not the last");
        const sum = this.#parts.reduce((total, part) => total + part.length, length);
        rule(sum <= this.#maxBytes, "OutOfRange", `message of ${sum} bytes`);
        return { last: head % 2 === 1, bytes: bits.take(length) };
      });
      if (piece === undefined) return;
      this.#parts.push(piece.bytes);
      if (!piece.last) continue;
      this.messages.push(concat(this.#parts));
      this.#parts = [];
    }
  }

  #preamble(bits: Bits): { channel: number; name: string } {
    const channel = bits.varint();
    const declared = this.world.channels.find((c) => c.id === channel);
    rule(declared?.mode === "reliable", "UnknownId", `channel ${channel}`);
    const length = bits.varint();
    rule(declared.namespace ? length <= 64 : length === 0, "OutOfRange", "channel name");
    const name = textOf(bits.take(length));
    this.#maxBytes = declared.maxBytes;
    return { channel, name };
  }
}

/** One array of all. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
