// The FNV-1a hash, 32 bits: a fast fingerprint for comparing states. It resists no attacker; secrets and pins never go through it.

/** Hash of nothing, and the start of every hash. */
export const FNV_OFFSET = 0x811c9dc5;
const PRIME = 0x0100_0193;

/**
 * FNV-1a over `bytes`, going on from `hash`.
 *
 * Source: Fowler, Noll, Vo, draft-eastlake-fnv.
 */
export function fnv1a(bytes: Uint8Array, hash: number = FNV_OFFSET): number {
  let h = hash;
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i]!, PRIME);
  return h >>> 0;
}

/** FNV-1a over the four bytes of `word` (32 bits, signed or unsigned), least significant first, going on from `hash`. */
export function fnv1aWord(word: number, hash: number): number {
  let h = Math.imul(hash ^ (word & 0xff), PRIME);
  h = Math.imul(h ^ ((word >>> 8) & 0xff), PRIME);
  h = Math.imul(h ^ ((word >>> 16) & 0xff), PRIME);
  return Math.imul(h ^ (word >>> 24), PRIME) >>> 0;
}
