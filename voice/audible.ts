// Who hears whom: the manifest's roles and range, and the distance between listener and speaker. Positions are the authoritative ones of
// the world, given by the caller; a speaker's or listener's own word about them is never asked.

import type { VoiceGrant } from "../permissions/grants.ts";

/** May peers of this role speak? */
export function canSpeak(voice: VoiceGrant, roleIndex: number): boolean {
  return ((voice.speakRoles >>> roleIndex) & 1) === 1;
}

/** May peers of this role hear? */
export function canHear(voice: VoiceGrant, roleIndex: number): boolean {
  return ((voice.hearRoles >>> roleIndex) & 1) === 1;
}

/**
 * Does a listener's ear at `ear` hear a speaker at `mouth` (metres: x, y, z)? Exactly at the range it does, beyond it never: there is no
 * band. A position that is not known, or not finite, is out of range.
 */
export function isWithinRange(
  voice: VoiceGrant,
  ear: ArrayLike<number>,
  mouth: ArrayLike<number>,
): boolean {
  const x = ear[0]! - mouth[0]!;
  const y = ear[1]! - mouth[1]!;
  const z = ear[2]! - mouth[2]!;
  // Written so that a NaN, from a missing or broken position, is not within range.
  return x * x + y * y + z * z <= voice.range * voice.range;
}

interface Listener {
  readonly peer: number;
  hears: boolean;
  readonly ear: Float64Array;
}

/**
 * The listeners of a world, for deciding where each frame goes.
 *
 * `setListener` with each tick's position (or when it changed), `removeListener` when a peer leaves, `hearersOf` for each frame.
 */
export class AudibleSet {
  readonly #voice: VoiceGrant;
  readonly #listeners: Listener[] = [];
  readonly #byPeer = new Map<number, Listener>();

  /** A set without listeners, deciding by these roles and this range. */
  constructor(voice: VoiceGrant) {
    this.#voice = voice;
  }

  /** Listeners known. */
  get size(): number {
    return this.#listeners.length;
  }

  /** Sets where `peer` hears from; `undefined` while it has no avatar, so that it hears nothing. */
  setListener(peer: number, roleIndex: number, ear: ArrayLike<number> | undefined): void {
    let listener = this.#byPeer.get(peer);
    if (listener === undefined) {
      listener = { peer, hears: false, ear: new Float64Array(3) };
      this.#byPeer.set(peer, listener);
      this.#listeners.push(listener);
    }
    listener.hears = canHear(this.#voice, roleIndex);
    for (let i = 0; i < 3; i++) listener.ear[i] = ear?.[i] ?? NaN;
  }

  /** Forgets a peer. */
  removeListener(peer: number): void {
    const listener = this.#byPeer.get(peer);
    if (listener === undefined) return;
    this.#byPeer.delete(peer);
    const at = this.#listeners.indexOf(listener);
    const moved = this.#listeners.pop()!;
    if (moved !== listener) this.#listeners[at] = moved;
  }

  /**
   * Fills `out` with the peers that hear a frame of `speaker` spoken at `mouth`, never the speaker itself. Nobody, where its role may not
   * speak or its position is not known.
   */
  hearersOf(
    speaker: number,
    roleIndex: number,
    mouth: ArrayLike<number> | undefined,
    out: number[],
  ): void {
    out.length = 0;
    if (mouth === undefined || !canSpeak(this.#voice, roleIndex)) return;
    for (const listener of this.#listeners) {
      if (
        listener.hears && listener.peer !== speaker &&
        isWithinRange(this.#voice, listener.ear, mouth)
      ) out.push(listener.peer);
    }
  }
}
