// The field types of engine-link messages: how each becomes a MessagePack value and how an untrusted value becomes it again. The first
// thing that is wrong becomes the sticky fault of the `Shape`; messages and their field order are in `engine_layout.ts`.

import type { ValueType } from "@std/msgpack";
import { assert } from "./assert.ts";
import type { ComponentRows, ConnectOrder, DenialReport } from "./engine_messages.ts";
import { Fault } from "./faults.ts";
import {
  MAX_COMPONENTS,
  MAX_CREDENTIAL_BYTES,
  MAX_DATAFLOW_NODES,
  MAX_DECLARED_ID,
  MAX_ENGINE_FRAME_BYTES,
  MAX_ENGINE_TEXT_BYTES,
  MAX_ENTITIES,
  MAX_NAME_BYTES,
  MAX_STATS,
} from "./limits.ts";

/** The first fault met while a message is read. */
export class Shape {
  #fault: Fault | undefined;

  /** The first fault, or `undefined` while all is well. */
  get fault(): Fault | undefined {
    return this.#fault;
  }

  /** Records a fault; only the first one stays. */
  fail(fault: Fault): void {
    this.#fault ??= fault;
  }
}

/** One field type. `decode` never throws; after a fault its result means nothing. */
export interface FieldType<T> {
  /** The MessagePack value of a valid `value`. */
  encode(value: T): ValueType;
  /** The field that an untrusted value stands for. */
  decode(value: ValueType | undefined, shape: Shape): T;
}

const NO_BYTES = new Uint8Array(0);
const utf8 = new TextEncoder();

/** A whole number of `min..max`. */
export function whole(min: number, max: number): FieldType<number> {
  return {
    encode: (value) => value,
    decode(value, shape) {
      if (typeof value !== "number") shape.fail(Fault.UnknownKind);
      else if (!Number.isInteger(value) || value < min || value > max) shape.fail(Fault.OutOfRange);
      else return value;
      return 0;
    },
  };
}

/** A finite number. */
export const finite: FieldType<number> = {
  encode: (value) => value,
  decode(value, shape) {
    if (typeof value === "number" && Number.isFinite(value)) return value;
    shape.fail(typeof value === "number" ? Fault.OutOfRange : Fault.UnknownKind);
    return 0;
  },
};

/** True or false. */
export const flag: FieldType<boolean> = {
  encode: (value) => value,
  decode(value, shape) {
    if (typeof value !== "boolean") shape.fail(Fault.UnknownKind);
    return value === true;
  },
};

/** Text of `minBytes..maxBytes` bytes as UTF-8. */
export function text(
  maxBytes: number = MAX_ENGINE_TEXT_BYTES,
  minBytes = 0,
): FieldType<string> {
  return {
    encode: (value) => value,
    decode(value, shape) {
      if (typeof value !== "string") {
        shape.fail(Fault.UnknownKind);
        return "";
      }
      const length = utf8.encode(value).length;
      if (length < minBytes || length > maxBytes) shape.fail(Fault.OutOfRange);
      return value;
    },
  };
}

/** Text that matches a pattern. */
export function pattern(expression: RegExp): FieldType<string> {
  return {
    encode: (value) => value,
    decode(value, shape) {
      if (typeof value !== "string") shape.fail(Fault.UnknownKind);
      else if (!expression.test(value)) shape.fail(Fault.OutOfRange);
      else return value;
      return "";
    },
  };
}

/** One of a few words. */
export function oneOf<const W extends string>(...words: readonly [W, ...W[]]): FieldType<W> {
  return {
    encode: (value) => value,
    decode(value, shape) {
      const word = words.find((candidate) => candidate === value);
      if (word === undefined) shape.fail(Fault.UnknownKind);
      return word ?? words[0];
    },
  };
}

/** `minBytes..maxBytes` raw bytes. */
export function bin(maxBytes: number, minBytes = 0): FieldType<Uint8Array> {
  return {
    encode: (value) => value,
    decode(value, shape) {
      if (!(value instanceof Uint8Array)) shape.fail(Fault.UnknownKind);
      else if (value.length < minBytes || value.length > maxBytes) shape.fail(Fault.OutOfRange);
      else return value;
      return NO_BYTES;
    },
  };
}

/** True where typed arrays lie in memory as they lie on the link. */
const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Reverses the bytes of each element in place, for machines of the other byte order. */
function swapElements(bytes: Uint8Array, elementBytes: number): Uint8Array {
  for (let at = 0; at < bytes.length; at += elementBytes) {
    bytes.subarray(at, at + elementBytes).reverse();
  }
  return bytes;
}

function bytesOf(array: Uint32Array | Float64Array): Uint8Array {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return IS_LITTLE_ENDIAN ? bytes : swapElements(bytes.slice(), array.BYTES_PER_ELEMENT);
}

/** An aligned copy of the elements in `value`; an empty one, and a fault, when it is no whole number of them. */
function elementsOf(
  value: ValueType | undefined,
  elementBytes: number,
  maxElements: number,
  shape: Shape,
): Uint8Array<ArrayBuffer> {
  if (!(value instanceof Uint8Array)) shape.fail(Fault.UnknownKind);
  else if (value.length % elementBytes !== 0) shape.fail(Fault.Truncated);
  else if (value.length / elementBytes > maxElements) shape.fail(Fault.OutOfRange);
  else {
    const copy = value.slice() as Uint8Array<ArrayBuffer>;
    if (!IS_LITTLE_ENDIAN) swapElements(copy, elementBytes);
    return copy;
  }
  return new Uint8Array(0);
}

/**
 * Groups of unsigned 32-bit numbers, flat, packed little-endian: one element a group for a plain list, 2 for pairs, 3 for triples.
 * `ranges` holds `[min, max]` of each position in a group; `maxGroups` bounds the list.
 */
export function words(
  ranges: readonly (readonly [number, number])[],
  maxGroups: number = MAX_ENTITIES,
): FieldType<Uint32Array> {
  const size = ranges.length;
  return {
    encode: bytesOf,
    decode(value, shape) {
      const list = new Uint32Array(elementsOf(value, 4, maxGroups * size, shape).buffer);
      if (list.length % size !== 0) shape.fail(Fault.Truncated);
      for (let position = 0; position < size; position++) {
        const [min, max] = ranges[position]!;
        if (min === 0 && max === 0xffff_ffff) continue;
        for (let i = position; i < list.length; i += size) {
          if (list[i]! < min || list[i]! > max) {
            shape.fail(Fault.OutOfRange);
            break;
          }
        }
      }
      return list;
    },
  };
}

/** Finite 64-bit floats, packed little-endian; with `isTime`, timeline times. */
export function doubles(maxElements: number, isTime = false): FieldType<Float64Array> {
  return {
    encode: bytesOf,
    decode(value, shape) {
      const list = new Float64Array(elementsOf(value, 8, maxElements, shape).buffer);
      for (const element of list) {
        const isGood = isTime
          ? Number.isInteger(element) && element >= 0 && element <= MAX_TIME
          : Number.isFinite(element);
        if (!isGood) {
          shape.fail(Fault.OutOfRange);
          break;
        }
      }
      return list;
    },
  };
}

/** Largest point on the timeline: 32 bits of tick, 6 bits of sub-tick. */
const MAX_TIME = 2 ** 38 - 1;
/** Any unsigned 32-bit number. */
export const ANY: readonly [number, number] = [0, 0xffff_ffff];
/** Any unsigned 32-bit number but 0: handles and network ids. */
export const SOME: readonly [number, number] = [1, 0xffff_ffff];
/** Handles and channel numbers that the engine allots. */
export const ENGINE_ALLOTTED: readonly [number, number] = [1, 0x7fff_ffff];
/** Peer ids. */
export const PEER: readonly [number, number] = [0, 0xffff];
/** Ids of components, events and channels. */
export const DECLARED: readonly [number, number] = [1, MAX_DECLARED_ID];

/** A point on the timeline. */
export const time: FieldType<number> = whole(0, MAX_TIME);
/** An unsigned 32-bit number. */
export const u32: FieldType<number> = whole(...ANY);
/** A peer id, or `ALL_PEERS`. */
export const peer: FieldType<number> = whole(...PEER);
/** Id of a component, event or channel. */
export const declaredId: FieldType<number> = whole(...DECLARED);
/** Id of a role; 0 is `server`. */
export const roleId: FieldType<number> = whole(0, MAX_DECLARED_ID);
/** A declared name. */
export const name: FieldType<string> = text(MAX_NAME_BYTES, 1);
/** SHA-256 as lower-case hex. */
export const hash: FieldType<string> = pattern(/^[0-9a-f]{64}$/);
/** SHA-256 as lower-case hex, or nothing. */
export const hashOrEmpty: FieldType<string> = pattern(/^(?:[0-9a-f]{64})?$/);

/** The elements of an array of exactly `count` elements (any number up to `max` when `count` is -1); padded after a fault. */
function elements(
  value: ValueType | undefined,
  count: number,
  max: number,
  shape: Shape,
): readonly ValueType[] {
  if (!Array.isArray(value)) shape.fail(Fault.UnknownKind);
  else if (count >= 0 && value.length < count) shape.fail(Fault.Truncated);
  else if (count >= 0 && value.length > count) shape.fail(Fault.Trailing);
  else if (value.length > max) shape.fail(Fault.OutOfRange);
  else return value;
  return [];
}

/** A list of at most `max` elements of one type. */
export function list<T>(type: FieldType<T>, max: number): FieldType<readonly T[]> {
  return {
    encode: (value) => value.map((element) => type.encode(element)),
    decode(value, shape) {
      return elements(value, -1, max, shape).map((element) => type.decode(element, shape));
    },
  };
}

/** Types of a tuple's elements. */
type TupleTypes<T extends readonly unknown[]> = { readonly [I in keyof T]: FieldType<T[I]> };

/** A tuple: an array of as many elements as there are types. */
export function tuple<T extends readonly unknown[]>(...types: TupleTypes<T>): FieldType<T> {
  return {
    encode: (value) => types.map((type, i) => type.encode(value[i])),
    decode(value, shape) {
      const parts = elements(value, types.length, types.length, shape);
      return types.map((type, i) => type.decode(parts[i], shape)) as unknown as T;
    },
  };
}

/** Types of a record's fields; their order here is their order on the link. */
export type RecordTypes<T> = { readonly [K in keyof T]-?: FieldType<T[K]> };

/** An object as an array of its fields, in the order of `types`. */
export function record<T extends object>(types: RecordTypes<T>): FieldType<T> {
  const keys = Object.keys(types) as (keyof T)[];
  return {
    encode: (value) => keys.map((key) => types[key].encode(value[key])),
    decode(value, shape) {
      const parts = elements(value, keys.length, keys.length, shape);
      const result: Partial<T> = {};
      for (let i = 0; i < keys.length; i++) {
        const key = keys[i]!;
        result[key] = types[key].decode(parts[i], shape);
      }
      return result as T;
    },
  };
}

/** Nil, or a value. */
export function optional<T>(type: FieldType<T>): FieldType<T | undefined> {
  return {
    encode: (value) => value === undefined ? null : type.encode(value),
    decode: (value, shape) => value === null ? undefined : type.decode(value, shape),
  };
}

const STAT_NAME = /^[A-Za-z][A-Za-z0-9_.]{0,63}$/;

/** Named numbers: `[name, value, name, value, ...]` with names ascending, so that no name comes twice. */
export const stats: FieldType<Readonly<Record<string, number>>> = {
  encode: (value) => Object.keys(value).sort().flatMap((key) => [key, value[key]!]),
  decode(value, shape) {
    const parts = elements(value, -1, 2 * MAX_STATS, shape);
    const result: Record<string, number> = {};
    if (parts.length % 2 !== 0) shape.fail(Fault.Truncated);
    let last = "";
    for (let i = 0; i + 1 < parts.length; i += 2) {
      const key = parts[i];
      if (typeof key !== "string" || !STAT_NAME.test(key)) shape.fail(Fault.OutOfRange);
      else if (key <= last) shape.fail(Fault.NonCanonical);
      else {
        result[key] = finite.decode(parts[i + 1], shape);
        last = key;
      }
    }
    return result;
  },
};

/** Nodes and their streams. */
export const nodes: FieldType<
  readonly (readonly [string, "input" | "output", readonly string[]])[]
> = list(
  tuple<readonly [string, "input" | "output", readonly string[]]>(
    name,
    oneOf("input", "output"),
    list(name, MAX_DATAFLOW_NODES),
  ),
  MAX_DATAFLOW_NODES,
);

/** A client's connect order, or nil. */
export const connectOrder: FieldType<ConnectOrder | undefined> = optional(
  record<ConnectOrder>({ url: text(), pin: hashOrEmpty, credential: bin(MAX_CREDENTIAL_BYTES) }),
);

/** A denial report. */
export const denialReport: FieldType<DenialReport> = record<DenialReport>({
  door: oneOf("driver", "remote", "engine"),
  rule: pattern(/^[A-Za-z][A-Za-z0-9_]{0,31}$/),
  peer,
  subject: pattern(/^[A-Za-z][A-Za-z0-9_]{0,31}$/),
  id: whole(0, MAX_DECLARED_ID),
  fields: whole(0, 0x7fff_ffff),
  handle: u32,
  count: u32,
});

/** Component rows of a batch; `timed` batches carry one sample time a row, the others none. Ids ascend. */
export function componentRows(timed: boolean): FieldType<readonly ComponentRows[]> {
  const rows = list(
    record<ComponentRows>({
      componentId: declaredId,
      handles: words([SOME]),
      masks: words([[0, 0x7fff_ffff]]),
      rows: bin(MAX_ENGINE_FRAME_BYTES),
      times: doubles(MAX_ENTITIES, true),
    }),
    MAX_COMPONENTS,
  );
  function broken(components: readonly ComponentRows[]): Fault | undefined {
    let lastId = 0;
    for (const { componentId, handles, masks, times } of components) {
      if (componentId <= lastId || handles.length === 0) return Fault.NonCanonical;
      if (masks.length !== handles.length) return Fault.OutOfRange;
      if (times.length !== (timed ? handles.length : 0)) return Fault.OutOfRange;
      lastId = componentId;
    }
    return undefined;
  }
  return {
    encode(value) {
      assert(
        broken(value) === undefined,
        "rows of a batch ascend by component and agree in number",
      );
      return rows.encode(value);
    },
    decode(value, shape) {
      const components = rows.decode(value, shape);
      const fault = broken(components);
      if (fault !== undefined) shape.fail(fault);
      return components;
    },
  };
}
