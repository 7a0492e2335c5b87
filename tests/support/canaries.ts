// Words, numbers and bytes that must not get out, and the search for them in anything that does: as they are, and in the forms in which
// programs print bytes. A search is only worth something where it is also shown to find.

/** Something that must not get out. */
interface Needle {
  readonly name: string;
  /** The forms it may take, as Latin-1 texts of their bytes. */
  readonly forms: readonly string[];
}

const utf8 = new TextEncoder();

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8_192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  }
  return text;
}

/** The characters of base64 that `bytes` alone decides, when it begins `offset` bytes into a group of three. */
function base64Middle(bytes: Uint8Array, offset: number): string {
  const shifted = new Uint8Array(offset + bytes.length);
  shifted.set(bytes, offset);
  const text = shifted.toBase64({ omitPadding: true });
  const from = Math.ceil(offset * 8 / 6);
  const to = Math.floor(shifted.length * 8 / 6);
  return text.slice(from, to);
}

function formsOf(bytes: Uint8Array): string[] {
  const wide = new Uint8Array(bytes.length * 2);
  bytes.forEach((byte, i) => wide[2 * i] = byte);
  const base64 = [0, 1, 2].map((offset) => base64Middle(bytes, offset));
  return [
    latin1(bytes),
    latin1(wide),
    bytes.toHex(),
    bytes.toHex().toUpperCase(),
    ...base64,
    ...base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_")),
    [...bytes].join(","),
  ];
}

/** A set of canaries. */
export class Canaries {
  readonly #needles: Needle[] = [];

  /** Makes up a word that nothing else says. */
  word(name: string): string {
    const letters = crypto.getRandomValues(new Uint8Array(10)).toHex();
    const word = `cnry${letters}`;
    this.add(name, word);
    return word;
  }

  /** Makes up bytes that nothing else holds. */
  bytes(name: string, length = 24): Uint8Array<ArrayBuffer> {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    this.add(name, bytes);
    return bytes;
  }

  /** Watches for a text or bytes that are there already, eight bytes or more. */
  add(name: string, value: string | Uint8Array): void {
    const bytes = typeof value === "string" ? utf8.encode(value) : value;
    if (bytes.length < 8) throw new Error(`${name} is too short to be told from chance`);
    this.#needles.push({ name, forms: formsOf(bytes) });
  }

  /** Watches for forms that are not those of a text or of many bytes: a number as text, an address. */
  addForms(name: string, ...forms: readonly string[]): void {
    this.#needles.push({ name, forms });
  }

  /** Names of the canaries in `data`, but for those of `allowed`. */
  find(data: string | Uint8Array, ...allowed: readonly string[]): string[] {
    const text = latin1(typeof data === "string" ? utf8.encode(data) : data);
    return this.#needles.filter(({ name, forms }) =>
      !allowed.includes(name) && forms.some((form) => text.includes(form))
    ).map(({ name }) => name);
  }
}
