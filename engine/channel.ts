// One channel as game code holds it, and what its table keeps of it. Nothing is decided here.

import type { ChannelGrant } from "../permissions/grants.ts";
import type { Incoming } from "./reassembly.ts";

/** What a channel's calls come to. */
export interface ChannelOwner {
  /** See {@linkcode Channel.send}. */
  send(entry: ChannelEntry, bytes: Uint8Array): boolean;
  /** See {@linkcode Channel.close}. */
  close(entry: ChannelEntry, reason: string): void;
}

/** Where an unfinished message stood when others began to wait for its room. */
export interface Mark {
  readonly atMs: number;
  /** Bytes that must have come by the end of the time. */
  readonly dueLength: number;
}

/** A message on its way out. */
export interface Outgoing {
  /** The whole message. */
  readonly bytes: Uint8Array;
  /** Bytes that have gone. */
  at: number;
}

/** One open channel to a peer's engine (for clients: to the server's). */
export class Channel {
  /** Called with each whole message; the bytes belong to the callee. */
  onMessage: ((bytes: Uint8Array) => void) | undefined;
  /** Called once, when the other side or the driver closed the channel, or the driver was lost. */
  onClose: ((reason: string) => void) | undefined;
  /** Called when `send` returned false for want of room and would take a message again. */
  onWritable: (() => void) | undefined;

  readonly #owner: ChannelOwner;
  readonly #entry: ChannelEntry;

  /** Made by the link alone. */
  constructor(owner: ChannelOwner, entry: ChannelEntry) {
    this.#owner = owner;
    this.#entry = entry;
  }

  /** Full name: the declared one, or one inside the declared namespace. */
  get name(): string {
    return this.#entry.name;
  }

  /** The peer at the other end. */
  get peer(): number {
    return this.#entry.peer;
  }

  /** False once either side has closed it. */
  get isOpen(): boolean {
    return this.#entry.isOpen;
  }

  /** Bytes taken by `send` that have not gone to the driver. */
  get bufferedBytes(): number {
    return this.#entry.bufferedBytes;
  }

  /**
   * Sends one message; the bytes are copied.
   *
   * @returns false when it was not taken: closed; denied (reported by `onDenied`); or, until `onWritable`, no room. An unreliable channel
   * without room drops the message, which is counted.
   */
  send(bytes: Uint8Array): boolean {
    return this.#owner.send(this.#entry, bytes);
  }

  /** Closes the channel. What `send` took and did not go out is dropped. */
  close(reason = ""): void {
    this.#owner.close(this.#entry, reason);
  }
}

/** What the table knows of one open channel. */
export interface ChannelEntry {
  readonly number: number;
  readonly grant: ChannelGrant;
  readonly name: string;
  readonly peer: number;
  channel: Channel | undefined;
  isOpen: boolean;
  readonly queue: Outgoing[];
  bufferedBytes: number;
  /** Bytes that may go to the driver before it grants more. */
  window: number;
  wantsRoom: boolean;
  /** The message that is on its way in. */
  readonly incoming: Incoming;
  /** Set while others wait for the room of that message. */
  mark: Mark | undefined;
  /** Pieces of a refused message are swallowed up to its end. */
  isRefusing: boolean;
  /** Bytes the driver may still send; below zero by at most one piece. */
  driverWindow: number;
  /** Bytes consumed that the driver was not granted again. */
  owedCredit: number;
  /** Credit is due and held back, because too much of unfinished messages is held. */
  isWaiting: boolean;
}
