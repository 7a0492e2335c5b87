// Finds a text in bytes at every bit offset: replication writes strings whole, but not always at a byte's edge.

/** Does `needle` (4 bytes or more) occur in the concatenation of `chunks`, starting at any bit, least significant bit first? */
export function occursAtAnyBit(chunks: readonly Uint8Array[], needle: Uint8Array): boolean {
  const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const all = new Uint8Array(total + 1);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  const first = word(needle, 0);
  for (let i = 0; i + needle.length <= total; i++) {
    // 40 bits around byte i hold the needle's first 32 at every offset.
    const low = word(all, i);
    const next = all[i + 4] ?? 0;
    for (let offset = 0; offset < 8; offset++) {
      const shifted = offset === 0 ? low : ((low >>> offset) | (next << (32 - offset))) >>> 0;
      if (shifted === first && matches(all, i, offset, needle)) return true;
    }
  }
  return false;
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}

function matches(bytes: Uint8Array, at: number, offset: number, needle: Uint8Array): boolean {
  for (let i = 0; i < needle.length; i++) {
    const value = ((bytes[at + i]! >>> offset) | ((bytes[at + i + 1] ?? 0) << (8 - offset))) & 0xff;
    if (value !== needle[i]) return false;
  }
  return true;
}
