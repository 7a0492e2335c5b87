// Makes the runtime collect its garbage. What it holds of connections that have ended goes with the objects that stood for them, and the script
// engine does not see how much that is: left alone, it would not look for a long time.

import { COLLECT_PROMPT_BYTES } from "../protocol/limits.ts";

/** Prompts a collection, which takes some ms and may free memory a moment later; without effect where there is no room for it. */
export function promptCollection(): void {
  try {
    // Never touched, so that the system gives nothing for it; but the engine counts it as memory outside its heap, and grows anxious.
    new ArrayBuffer(COLLECT_PROMPT_BYTES);
  } catch {
    // A limit on address space refuses it.
  }
}
