// Engine-link messages to bytes and back: one MessagePack array `[kind number, ...fields]` a frame. Decoding is total: the bytes are
// checked first, then the shape, and whatever is wrong is a named fault. What a message means to a world is not known here.

import { decode, encode, type ValueType } from "@std/msgpack";
import { assert } from "./assert.ts";
import {
  type AnyMessage,
  type LayoutTable,
  tableOf,
  TO_DRIVER,
  TO_ENGINE,
} from "./engine_layout.ts";
import type { ToDriver, ToEngine } from "./engine_messages.ts";
import { Shape } from "./engine_shape.ts";
import { Fault } from "./faults.ts";
import { MAX_ENGINE_FRAME_BYTES, MAX_ENGINE_TEXT_BYTES } from "./limits.ts";
import { checkMsgpack } from "./msgpack_check.ts";

/** What a frame held: a message that satisfies every rule of its kind, or the first thing wrong with it. */
export type Decoded<M> =
  | { readonly ok: true; readonly message: M }
  | { readonly ok: false; readonly fault: Fault };

const toEngine = tableOf<ToEngine>(TO_ENGINE);
const toDriver = tableOf<ToDriver>(TO_DRIVER);

function encodeMessage(table: LayoutTable, message: AnyMessage): Uint8Array<ArrayBuffer> {
  const layout = table.byKind.get(message.kind);
  assert(layout !== undefined, "every kind of message has a layout");
  const values = message as unknown as Readonly<Record<string, unknown>>;
  assert(
    layout.rule?.(message as never) === undefined,
    `a ${message.kind} message keeps its rules`,
  );
  const parts: ValueType[] = [layout.number];
  for (const [name, type] of layout.fields) parts.push(type.encode(values[name]));
  return encode(parts);
}

function decodeMessage<M>(table: LayoutTable, frame: Uint8Array): Decoded<M> {
  if (frame.length > MAX_ENGINE_FRAME_BYTES) return { ok: false, fault: Fault.OutOfRange };
  const fault = checkMsgpack(frame);
  if (fault !== undefined) return { ok: false, fault };
  const parts = decode(frame);
  if (!Array.isArray(parts) || typeof parts[0] !== "number") {
    return { ok: false, fault: Fault.UnknownKind };
  }
  const layout = table.byNumber.get(parts[0]);
  if (layout === undefined) return { ok: false, fault: Fault.UnknownKind };
  if (parts.length <= layout.fields.length) return { ok: false, fault: Fault.Truncated };
  if (parts.length > layout.fields.length + 1) return { ok: false, fault: Fault.Trailing };

  const shape = new Shape();
  const message: Record<string, unknown> = { kind: layout.kind };
  for (let i = 0; i < layout.fields.length; i++) {
    const [name, type] = layout.fields[i]!;
    message[name] = type.decode(parts[i + 1], shape);
    if (shape.fault !== undefined) return { ok: false, fault: shape.fault };
  }
  const broken = layout.rule?.(message as never);
  if (broken !== undefined) return { ok: false, fault: broken };
  return { ok: true, message: message as M };
}

/** The frame body of a message to the engine. The message must satisfy its kind's rules; bulk data is copied once. */
export function encodeToEngine(message: ToEngine): Uint8Array<ArrayBuffer> {
  return encodeMessage(toEngine, message);
}

/** The frame body of a message to the driver; see {@linkcode encodeToEngine}. */
export function encodeToDriver(message: ToDriver): Uint8Array<ArrayBuffer> {
  return encodeMessage(toDriver, message);
}

/** Reads a frame body that came from the driver. Never throws. `bin` fields of plain bytes are views into `frame`. */
export function decodeToEngine(frame: Uint8Array): Decoded<ToEngine> {
  return decodeMessage<ToEngine>(toEngine, frame);
}

/** Reads a frame body that came from the engine; see {@linkcode decodeToEngine}. */
export function decodeToDriver(frame: Uint8Array): Decoded<ToDriver> {
  return decodeMessage<ToDriver>(toDriver, frame);
}

const utf8 = new TextEncoder();

/** A free text cut to what one text on the link may hold: whole characters, no leading byte order mark, no lone surrogates. */
export function clampText(text: string, maxBytes: number = MAX_ENGINE_TEXT_BYTES): string {
  const clean = text.replace(/^\uFEFF+/, "").toWellFormed();
  if (utf8.encode(clean).length <= maxBytes) return clean;
  let kept = "";
  let bytes = 0;
  for (const character of clean) {
    bytes += utf8.encode(character).length;
    if (bytes > maxBytes) break;
    kept += character;
  }
  return kept;
}
