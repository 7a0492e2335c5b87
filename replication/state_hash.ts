// FNV-1a over quantised state: how two ends compare what they hold. It sees integers and bytes only, so equal means equal after
// quantisation. Which entities and fields are compared is the caller's choice.

import type { ComponentGrant } from "../permissions/grants.ts";
import type { VersionStore } from "./version_store.ts";

/** The hash of nothing (FNV-1a, 32 bits, draft-eastlake-fnv). */
export const HASH_START = 0x811c9dc5 | 0;

const PRIME = 0x0100_0193;

/** Adds a 32-bit integer, as four bytes, little-endian. */
export function hashWord(hash: number, word: number): number {
  hash = Math.imul(hash ^ (word & 0xff), PRIME);
  hash = Math.imul(hash ^ ((word >>> 8) & 0xff), PRIME);
  hash = Math.imul(hash ^ ((word >>> 16) & 0xff), PRIME);
  return Math.imul(hash ^ (word >>> 24), PRIME);
}

/** Adds a run of bytes, its length first. */
export function hashBytes(hash: number, bytes: Uint8Array): number {
  hash = hashWord(hash, bytes.length);
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, PRIME);
  return hash;
}

/** Adds one version of a component: its declared id, then the lanes or the length and bytes of each field in `mask`. */
export function hashValue(
  hash: number,
  component: ComponentGrant,
  store: VersionStore,
  version: number,
  mask: number,
): number {
  hash = hashWord(hash, component.id);
  for (const field of component.fields) {
    if ((mask & (1 << field.index)) === 0) continue;
    if (field.blobIndex >= 0) {
      hash = hashBytes(hash, store.blob(version, field.blobIndex));
      continue;
    }
    const at = version * store.laneCount + field.laneOffset;
    for (let i = 0; i < field.lanes; i++) hash = hashWord(hash, store.lanes[at + i]!);
  }
  return hash;
}
