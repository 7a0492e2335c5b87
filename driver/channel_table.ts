// Which channels are open, by number and by peer, and how far each has come. It counts; what may be opened or sent is not its question.

import { CHANNEL_WINDOW_BYTES, MAX_OPEN_CHANNELS, MAX_PLAIN_CHANNELS } from "../protocol/limits.ts";
import type { ChannelGrant } from "../permissions/grants.ts";
import type { Stream } from "../transport/connection.ts";
import type { Inlet } from "./channel_inlets.ts";
import type { ChannelMessage } from "./peer_link.ts";

/** What is needed to know of the peer at the other end of a channel. */
export interface ChannelPeer {
  /** Its peer id, as the engine knows it. */
  readonly peer: number;
  /** Role that its messages are judged by. */
  readonly remoteRole: number;
  /** Role that our own engine's messages are judged by. */
  readonly localRole: number;
  /** Opens a stream to it. */
  openStream(): Stream;
  /** Queues one unreliable message; false when it was dropped. */
  queueMessage(message: ChannelMessage): boolean;
}

/** One open channel. */
export interface Channel {
  /** On the engine link. */
  readonly number: number;
  readonly grant: ChannelGrant;
  /** Full name. */
  readonly name: string;
  readonly peer: ChannelPeer;
  /** Where the peer's messages come in; its stream is `undefined` for an unreliable channel. */
  readonly inlet: Inlet;
  /** The engine has been told of it, or has opened it itself. */
  isKnown: boolean;
  /** Bytes of the outgoing message so far; a refused one is swallowed up to its end. */
  outBytes: number;
  outRefused: boolean;
  /** Bytes that the engine may send before it is granted more; below zero by less than one piece. */
  outWindow: number;
  inRefused: boolean;
  inStarted: boolean;
  /** Bytes that may still go to the engine before it grants more. */
  engineWindow: number;
  /** Bytes taken from the engine that are not credited back yet, because the stream is full. */
  owedCredit: number;
}

/** The open channels of one driver. */
export class ChannelTable {
  readonly #channels = new Map<number, Channel>();
  readonly #byPeer = new Map<number, Set<Channel>>();

  /** Channels open. */
  get size(): number {
    return this.#channels.size;
  }

  /** The channel with this number. */
  get(number: number): Channel | undefined {
    return this.#channels.get(number);
  }

  /** Whether this very channel is still open. */
  has(channel: Channel): boolean {
    return this.#channels.get(channel.number) === channel;
  }

  /** All channels; none may be added or removed meanwhile. */
  values(): Iterable<Channel> {
    return this.#channels.values();
  }

  /** A copy of the channels of one peer. */
  ofPeer(peer: number): Channel[] {
    return [...this.#byPeer.get(peer) ?? []];
  }

  /** The channel of this declaration and full name, if the peer has one; the older one of two. */
  find(peer: number, grant: ChannelGrant, name: string): Channel | undefined {
    for (const channel of this.#byPeer.get(peer) ?? []) {
      if (channel.grant === grant && channel.name === name) return channel;
    }
    return undefined;
  }

  /** Whether the peer has as many channels as any peer may have. */
  isPeerFull(peer: number): boolean {
    return (this.#byPeer.get(peer)?.size ?? 0) >= MAX_OPEN_CHANNELS;
  }

  /** Whether the peer has as many channels as it may have, in all or of one declaration. */
  isFull(peer: number, grant: ChannelGrant): boolean {
    let count = 0;
    for (const channel of this.#byPeer.get(peer) ?? []) if (channel.grant === grant) count += 1;
    return this.isPeerFull(peer) || count >= (grant.namespace ? grant.maxOpen : MAX_PLAIN_CHANNELS);
  }

  /** Opens a channel under a free number. */
  add(fixed: Pick<Channel, "number" | "grant" | "name" | "peer" | "inlet" | "isKnown">): Channel {
    const channel: Channel = {
      ...fixed,
      outBytes: 0,
      outRefused: false,
      outWindow: CHANNEL_WINDOW_BYTES,
      inRefused: false,
      inStarted: false,
      engineWindow: CHANNEL_WINDOW_BYTES,
      owedCredit: 0,
    };
    fixed.inlet.channel = channel;
    const { peer } = fixed.peer;
    this.#channels.set(channel.number, channel);
    const ofPeer = this.#byPeer.get(peer);
    if (ofPeer === undefined) this.#byPeer.set(peer, new Set([channel]));
    else ofPeer.add(channel);
    return channel;
  }

  /** Takes a channel out; false when it was not open any more. */
  remove(channel: Channel): boolean {
    if (!this.has(channel)) return false;
    this.#channels.delete(channel.number);
    const { peer } = channel.peer;
    const ofPeer = this.#byPeer.get(peer)!;
    ofPeer.delete(channel);
    if (ofPeer.size === 0) this.#byPeer.delete(peer);
    return true;
  }
}
