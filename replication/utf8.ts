// Whether bytes are UTF-8. Texts travel and are kept as bytes; only their validity is checked, nothing is decoded for good.

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Whether `bytes` is well-formed UTF-8 (RFC 3629). */
export function isUtf8(bytes: Uint8Array): boolean {
  let i = 0;
  while (i < bytes.length && bytes[i]! < 0x80) i += 1;
  if (i === bytes.length) return true;
  try {
    // The platform offers no check that answers without throwing.
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
