// Ed25519 signatures, checked by the runtime's own cryptography. Knows no token and no key of its own.

/** Whether `publicKey` (32 bytes) signed `data` so; false for keys and signatures that are none. */
export async function isSignedBy(
  publicKey: Uint8Array,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey(
      "raw",
      Uint8Array.from(publicKey),
      "Ed25519",
      false,
      ["verify"],
    );
    return await crypto.subtle.verify(
      "Ed25519",
      key,
      Uint8Array.from(signature),
      Uint8Array.from(data),
    );
  } catch {
    return false;
  }
}

/** {@linkcode isSignedBy} as cores want it. */
export function verifyEd25519(
  publicKey: Uint8Array,
  signature: Uint8Array,
  data: Uint8Array,
  done: (isGood: boolean) => void,
): void {
  isSignedBy(publicKey, signature, data).then(done);
}
