// Speaks with the recorded voice and judges who heard it: within the range every frame byte for byte, beyond it none. A band of a tenth
// around the edge is not judged, because positions are on their way too.

/** What one listener heard. */
export interface VoiceVerdict {
  readonly listener: string;
  readonly inRange: number;
  readonly heardInRange: number;
  readonly outOfRange: number;
  readonly heardOutOfRange: number;
  readonly damaged: number;
}

interface Account {
  /** By frame: 1 in range, -1 out of range, 0 not judged. */
  readonly where: number[];
  readonly heard: Set<number>;
  damaged: number;
}

/** The account of one speaker's frames. */
export class VoiceJudge {
  readonly #range: number;
  readonly #packets: readonly Uint8Array[];
  readonly #accounts = new Map<string, Account>();
  #sent = 0;

  constructor(range: number, packets: readonly Uint8Array[]) {
    this.#range = range;
    this.#packets = packets;
  }

  /** Frames spoken. */
  get sent(): number {
    return this.#sent;
  }

  /** The next frame to speak. */
  get nextPacket(): Uint8Array {
    return this.#packets[this.#sent % this.#packets.length]!;
  }

  /** The frame was spoken; the listeners stood at these distances, metres. */
  noteSpoken(distances: ReadonlyMap<string, number>): void {
    for (const [listener, distance] of distances) {
      const place = distance < this.#range * 0.9 ? 1 : distance > this.#range * 1.1 ? -1 : 0;
      this.#account(listener).where[this.#sent] = place;
    }
    this.#sent += 1;
  }

  /** A frame arrived at a listener's engine. */
  noteHeard(listener: string, sequence: number, frame: Uint8Array): void {
    const account = this.#account(listener);
    // 16 bits of sequence: the frame nearest to the last one spoken.
    const index = this.#sent - 1 - ((this.#sent - 1 - sequence) & 0xffff);
    const packet = this.#packets[index % this.#packets.length];
    const isWhole = packet !== undefined && packet.length === frame.length &&
      packet.every((byte, i) => byte === frame[i]);
    if (isWhole) account.heard.add(index);
    else account.damaged += 1;
  }

  /** What everybody heard. */
  judge(): VoiceVerdict[] {
    return [...this.#accounts].map(([listener, { where, heard, damaged }]) => {
      const count = (place: number) => {
        let frames = 0;
        let heardFrames = 0;
        where.forEach((one, index) => {
          if (one !== place) return;
          frames += 1;
          if (heard.has(index)) heardFrames += 1;
        });
        return [frames, heardFrames] as const;
      };
      const [inRange, heardInRange] = count(1);
      const [outOfRange, heardOutOfRange] = count(-1);
      return { listener, inRange, heardInRange, outOfRange, heardOutOfRange, damaged };
    });
  }

  #account(listener: string): Account {
    let account = this.#accounts.get(listener);
    if (account === undefined) {
      account = { where: [], heard: new Set(), damaged: 0 };
      this.#accounts.set(listener, account);
    }
    return account;
  }
}
