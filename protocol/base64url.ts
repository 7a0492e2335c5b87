// Bytes as base64url text (RFC 4648 section 5) without padding, in its one shortest form: what JSON Web Tokens are written in.

/** The text of bytes. */
export function toBase64Url(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** The bytes of a text; `undefined` for anything that {@linkcode toBase64Url} would not have written. */
export function fromBase64Url(text: string): Uint8Array<ArrayBuffer> | undefined {
  // The runtime's decoder passes over white space and padding, and over bits left at the end; none of these is canonical.
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
  } catch {
    return undefined;
  }
  return toBase64Url(bytes) === text ? bytes : undefined;
}
