// The control of the cubes benchmark: a bit-packer written from the text of Fiedler's article "Snapshot Compression" (gafferongames.com,
// 2015), nothing in it tuned to this scene. It packs one snapshot against another and reads it back.

import { Reader } from "../protocol/reader.ts";
import type { Writer } from "../protocol/writer.ts";
import { CUBES, LANES } from "./cubes_scene.ts";

/** Bits of a cube's number, of absolute positions (x, y, z) and of one number of a rotation. */
const INDEX_BITS = 10;
const POSITION_BITS = [18, 18, 14] as const;
const ROTATION_BITS = 9;
/** Lanes of a cube: position, index of the largest number of the rotation, the other three, the flag. */
const POSITION = 0;
const LARGEST = 3;
const ROTATION = 4;
const FLAG = 7;
/** The lane of height zero: positions begin 256 m below it, heights are never below. */
const FLOOR = 256 * 512;

/** Small and large differences of one number: 5 bits, or so many bits. */
const SMALL_BITS = 5;
const POSITION_LARGE_BITS = 9;
const ROTATION_LARGE_BITS = 8;

/** Whether cube `i` differs between two snapshots. */
export function isChanged(lanes: Int32Array, base: Int32Array, i: number): boolean {
  for (let at = i * LANES; at < (i + 1) * LANES; at++) if (lanes[at] !== base[at]) return true;
  return false;
}

/** Packs a snapshot against `base`; returns the number of cubes that differ. */
export function packCubes(w: Writer, lanes: Int32Array, base: Int32Array): number {
  const changed: number[] = [];
  for (let i = 0; i < CUBES; i++) if (isChanged(lanes, base, i)) changed.push(i);
  const isIndexed = INDEX_BITS + indexBits(changed) < CUBES;
  w.bool(isIndexed);
  if (isIndexed) {
    w.bits(changed.length, INDEX_BITS);
    let previous = -1;
    for (const i of changed) {
      writeIndex(w, i, previous);
      previous = i;
      packCube(w, lanes, base, i * LANES);
    }
  } else {
    for (let i = 0, next = 0; i < CUBES; i++) {
      w.bool(changed[next] === i);
      if (changed[next] !== i) continue;
      next += 1;
      packCube(w, lanes, base, i * LANES);
    }
  }
  return changed.length;
}

/** Reads what `packCubes` wrote into `lanes`, which holds the base. */
export function unpackCubes(bytes: Uint8Array, lanes: Int32Array): void {
  const r = new Reader(bytes);
  const base = lanes.slice();
  if (r.bool()) {
    let i = -1;
    for (let left = r.bits(INDEX_BITS); left > 0; left--) {
      i = readIndex(r, i);
      unpackCube(r, lanes, base, i * LANES);
    }
  } else {
    for (let i = 0; i < CUBES; i++) if (r.bool()) unpackCube(r, lanes, base, i * LANES);
  }
}

/** The first index whole, the others relative to the one before: 1 to 8 in 4 bits, 9 to 40 in 7, more in 12. */
function writeIndex(w: Writer, i: number, previous: number): void {
  const gap = i - previous;
  if (previous < 0) w.bits(i, INDEX_BITS);
  else if (gap <= 8) {
    w.bool(true);
    w.bits(gap - 1, 3);
  } else {
    w.bool(false);
    w.bool(gap <= 40);
    if (gap <= 40) w.bits(gap - 9, 5);
    else w.bits(gap - 41, INDEX_BITS);
  }
}

function readIndex(r: Reader, previous: number): number {
  if (previous < 0) return r.bits(INDEX_BITS);
  if (r.bool()) return previous + 1 + r.bits(3);
  return previous + (r.bool() ? 9 + r.bits(5) : 41 + r.bits(INDEX_BITS));
}

function indexBits(changed: readonly number[]): number {
  let bits = 0;
  changed.forEach((i, at) => {
    const gap = at === 0 ? 0 : i - changed[at - 1]!;
    bits += at === 0 ? INDEX_BITS : gap <= 8 ? 4 : gap <= 40 ? 7 : 2 + INDEX_BITS;
  });
  return bits;
}

function packCube(w: Writer, lanes: Int32Array, base: Int32Array, at: number): void {
  w.bits(lanes[at + FLAG]!, 1);
  const isMoved = differs(lanes, base, at + POSITION, 3);
  const isTurned = differs(lanes, base, at + LARGEST, 4);
  w.bool(isMoved);
  w.bool(isTurned);
  if (isMoved) {
    const isNear = isWithin(lanes, base, at + POSITION, POSITION_LARGE_BITS);
    w.bool(isNear);
    for (let axis = 0; axis < 3; axis++) {
      const lane = lanes[at + POSITION + axis]!;
      if (isNear) writeDelta(w, lane - base[at + POSITION + axis]!, POSITION_LARGE_BITS);
      else w.bits(axis === 2 ? lane - FLOOR : lane, POSITION_BITS[axis]!);
    }
  }
  if (isTurned) {
    const isNear = lanes[at + LARGEST] === base[at + LARGEST] &&
      isWithin(lanes, base, at + ROTATION, ROTATION_LARGE_BITS);
    w.bool(isNear);
    if (!isNear) w.bits(lanes[at + LARGEST]!, 2);
    for (let axis = 0; axis < 3; axis++) {
      const lane = lanes[at + ROTATION + axis]!;
      if (isNear) writeDelta(w, lane - base[at + ROTATION + axis]!, ROTATION_LARGE_BITS);
      else w.bits(lane, ROTATION_BITS);
    }
  }
}

function unpackCube(r: Reader, lanes: Int32Array, base: Int32Array, at: number): void {
  lanes[at + FLAG] = r.bits(1);
  const isMoved = r.bool();
  const isTurned = r.bool();
  if (isMoved) {
    const isNear = r.bool();
    for (let axis = 0; axis < 3; axis++) {
      const from = base[at + POSITION + axis]!;
      lanes[at + POSITION + axis] = isNear
        ? from + readDelta(r, POSITION_LARGE_BITS)
        : r.bits(POSITION_BITS[axis]!) + (axis === 2 ? FLOOR : 0);
    }
  }
  if (isTurned) {
    const isNear = r.bool();
    if (!isNear) lanes[at + LARGEST] = r.bits(2);
    for (let axis = 0; axis < 3; axis++) {
      const from = base[at + ROTATION + axis]!;
      lanes[at + ROTATION + axis] = isNear
        ? from + readDelta(r, ROTATION_LARGE_BITS)
        : r.bits(ROTATION_BITS);
    }
  }
}

function differs(lanes: Int32Array, base: Int32Array, at: number, count: number): boolean {
  for (let i = at; i < at + count; i++) if (lanes[i] !== base[i]) return true;
  return false;
}

/** Whether three differences fit `largeBits`; what is not small begins where small ends, so that the range is that much wider. */
function isWithin(lanes: Int32Array, base: Int32Array, at: number, largeBits: number): boolean {
  const reach = 2 ** (largeBits - 1) + 2 ** (SMALL_BITS - 1);
  for (let i = at; i < at + 3; i++) {
    const delta = lanes[i]! - base[i]!;
    if (delta < -reach || delta >= reach) return false;
  }
  return true;
}

function writeDelta(w: Writer, delta: number, largeBits: number): void {
  const small = 2 ** (SMALL_BITS - 1);
  const isSmall = delta >= -small && delta < small;
  w.bool(isSmall);
  if (isSmall) return w.bits(delta + small, SMALL_BITS);
  w.bits((delta < 0 ? delta + small : delta - small) + 2 ** (largeBits - 1), largeBits);
}

function readDelta(r: Reader, largeBits: number): number {
  const small = 2 ** (SMALL_BITS - 1);
  if (r.bool()) return r.bits(SMALL_BITS) - small;
  const shifted = r.bits(largeBits) - 2 ** (largeBits - 1);
  return shifted < 0 ? shifted - small : shifted + small;
}
