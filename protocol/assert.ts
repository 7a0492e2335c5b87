// The one assertion of the core. It is for our own mistakes alone: bytes, values and manifests from outside never reach it.

/**
 * Throws when our own code broke a rule it relies on.
 *
 * @throws {Error} with `sentence`; the driver crashes, the engine goes on and a new driver starts.
 */
export function assert(condition: unknown, sentence: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${sentence}`);
}
