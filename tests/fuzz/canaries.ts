// Texts that name the secret they stand in, and a search for them in bytes at every bit offset: replication writes strings and bytes whole,
// but not always at a byte's edge. Who may see which is another file's question.

/** Four bytes that open every canary; by chance they stand at one bit offset in 4,294,967,296. */
const MARK = Uint8Array.of(0x02, 0x51, 0x7a, 0x37);
const MARK_WORD = 0x377a5102;
const ID_LENGTH = 7;
/** Numbers are below 36^4: the other digits check them, so that a canary whose end was cut off and made up by what follows is none. */
const CHECKS = 36 ** 3;
/** Bytes of one canary: the mark, and a number with its check in 7 digits to the base 36. */
export const CANARY_BYTES = MARK.length + ID_LENGTH;
/** In a long text the canary comes again and again, so that each piece of it holds a whole one. */
const REPEAT_BYTES = 48;

/** The text of canary `number` in about `length` characters, one byte each; no shorter than a canary. */
export function canaryText(number: number, length: number): string {
  const id = number * CHECKS + checkOf(number);
  const one = String.fromCharCode(...MARK) + id.toString(36).padStart(ID_LENGTH, "0");
  let text = one;
  while (text.length < length) {
    const filler = "lorem ipsum dolor sit amet consectetur ".slice(0, REPEAT_BYTES - CANARY_BYTES);
    text += text.length + REPEAT_BYTES <= length ? filler + one : "x".repeat(length - text.length);
  }
  return text;
}

/** Numbers of the canaries that stand in `bytes`, at any bit offset (least significant bit first), each once. */
export function findCanaries(bytes: Uint8Array): number[] {
  const found = new Set<number>();
  const last = bytes.length - CANARY_BYTES;
  // A sliding window of the 32 bits at byte i, with the byte behind them.
  let low = 0;
  for (let i = 0; i < 4 && i < bytes.length; i++) low |= bytes[i]! << (8 * i);
  for (let i = 0; i <= last; i++) {
    const next = i + 4 < bytes.length ? bytes[i + 4]! : 0;
    if (low === MARK_WORD) note(bytes, i, 0, found);
    for (let offset = 1; offset < 8; offset++) {
      if (((low >>> offset) | (next << (32 - offset))) === MARK_WORD) note(bytes, i, offset, found);
    }
    low = (low >>> 8) | (next << 24);
  }
  return [...found];
}

function note(bytes: Uint8Array, at: number, offset: number, found: Set<number>): void {
  let text = "";
  for (let i = 0; i < ID_LENGTH; i++) {
    const from = at + MARK.length + i;
    const byte = (bytes[from]! >>> offset) | ((bytes[from + 1] ?? 0) << (8 - offset));
    text += String.fromCharCode(byte & 0xff);
  }
  if (!/^[0-9a-z]{7}$/.test(text)) return;
  const id = parseInt(text, 36);
  const number = Math.floor(id / CHECKS);
  if (id % CHECKS === checkOf(number)) found.add(number);
}

/** The check of a number; Knuth's multiplicative hash. */
function checkOf(number: number): number {
  return (Math.imul(number + 1, 0x9e37_79b1) >>> 0) % CHECKS;
}
