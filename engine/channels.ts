// Channels between this engine and peers: messages cut into pieces, credit windows both ways, and the gate before each message. It knows
// frames only as messages to push; which bytes are on the socket is the outbox's business.

import { DRIVER_HANDLE_BIT, SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  MAX_OPEN_CHANNELS,
} from "../protocol/limits.ts";
import { isNameOf } from "../permissions/gate.ts";
import type { ChannelGrant } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { clampText } from "../protocol/engine_codec.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";

/** Consumed bytes are credited back in steps of a quarter window, so that credits stay rare. */
const CREDIT_STEP_BYTES = CHANNEL_WINDOW_BYTES / 4;

const NOTHING = new Uint8Array(0);

interface Outgoing {
  readonly bytes: Uint8Array;
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

  readonly #table: ChannelTable;
  readonly #entry: ChannelEntry;

  /** Made by the link alone. */
  constructor(table: ChannelTable, entry: ChannelEntry) {
    this.#table = table;
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
    return this.#table.send(this.#entry, bytes);
  }

  /** Closes the channel. What `send` took and did not go out is dropped. */
  close(reason = ""): void {
    this.#table.close(this.#entry, reason);
  }
}

interface ChannelEntry {
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
  /** The incoming message so far is the first `receivedBytes` of this buffer. */
  received: Uint8Array;
  receivedBytes: number;
  /** Pieces of a refused message are swallowed up to its end. */
  isRefusing: boolean;
  /** Bytes the driver may still send; below zero by at most one piece. */
  driverWindow: number;
  owedCredit: number;
}

/** All channels of one link. */
export class ChannelTable {
  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #onChannel: (channel: Channel) => void;
  readonly #entries = new Map<number, ChannelEntry>();
  #next = 1;

  /** @param onChannel Told of channels that a peer opened. */
  constructor(state: LinkState, outbox: LinkOutbox, onChannel: (channel: Channel) => void) {
    this.#state = state;
    this.#outbox = outbox;
    this.#onChannel = onChannel;
  }

  /** Channels open. */
  get size(): number {
    return this.#entries.size;
  }

  /** Opens a channel; `undefined` when the gate refuses it. */
  open(name: string, peer: number): Channel | undefined {
    const state = this.#state;
    const grant = state.grants.channels.find((one) => isNameOf(one, name));
    const deny = (rule: Rule) => {
      state.deny("channel", rule, { id: grant?.id ?? 0 });
      return undefined;
    };
    if (grant === undefined) return deny(Rule.Undeclared);
    if (!state.isAuthority && peer !== SERVER_PEER) return deny(Rule.Peer);
    // A channel joins one peer with the server's engine; either end may open it when both may use it.
    for (const roleIndex of [state.roleIndex, state.roleOf(peer)]) {
      const decision = state.gate.decideOpen({
        channel: grant.index,
        name,
        roleIndex,
        open: this.#countOf(peer, grant),
      });
      if (!decision.allowed) return deny(decision.rule);
    }
    if (this.#countOf(peer) >= MAX_OPEN_CHANNELS) return deny(Rule.ChannelCount);
    const entry = this.#add(this.#next, grant, name, peer);
    this.#next += 1;
    this.#outbox.push({
      kind: "channelOpen",
      channel: entry.number,
      channelId: grant.id,
      name,
      peer,
    });
    return entry.channel;
  }

  /** See {@linkcode Channel.send}. */
  send(entry: ChannelEntry, bytes: Uint8Array): boolean {
    const state = this.#state;
    if (!entry.isOpen) return false;
    const decision = state.gate.decideChannel({
      channel: entry.grant.index,
      roleIndex: state.roleIndex,
      direction: "out",
      op: "send",
      bytes: bytes.length,
    });
    if (!decision.allowed) return state.deny("channel", decision.rule, { id: entry.grant.id });
    if (entry.grant.mode === "unreliable") return this.#sendUnreliable(entry, bytes);
    if (entry.bufferedBytes >= CHANNEL_WINDOW_BYTES) {
      entry.wantsRoom = true;
      return false;
    }
    entry.queue.push({ bytes: bytes.slice(), at: 0 });
    entry.bufferedBytes += bytes.length;
    return true;
  }

  #sendUnreliable(entry: ChannelEntry, bytes: Uint8Array): boolean {
    if (
      bytes.length > CHANNEL_PIECE_BYTES || entry.window < bytes.length || !this.#outbox.isWritable
    ) {
      this.#state.counters.messagesDropped += 1;
      return false;
    }
    entry.window -= bytes.length;
    this.#outbox.push({
      kind: "channelData",
      channel: entry.number,
      piece: bytes.slice(),
      last: true,
    });
    return true;
  }

  /** Moves pieces to the outbox, one a channel and round, while windows and backlog have room. */
  pump(): void {
    for (let moved = true; moved;) {
      moved = false;
      for (const entry of this.#entries.values()) {
        // A quarter of the backlog at most: state and other channels must find room beside a large message.
        if (this.#outbox.backlogBytes >= CHANNEL_WINDOW_BYTES) return;
        if (this.#pumpOne(entry)) moved = true;
      }
    }
  }

  #pumpOne(entry: ChannelEntry): boolean {
    const message = entry.queue[0];
    if (message === undefined) return false;
    const left = message.bytes.length - message.at;
    if (entry.window <= 0 && left > 0) return false;
    const size = Math.min(left, CHANNEL_PIECE_BYTES);
    const piece = message.bytes.subarray(message.at, message.at + size);
    message.at += size;
    const last = message.at === message.bytes.length;
    if (last) entry.queue.shift();
    entry.window -= size;
    entry.bufferedBytes -= size;
    this.#outbox.push({ kind: "channelData", channel: entry.number, piece, last });
    if (entry.wantsRoom && entry.bufferedBytes < CHANNEL_WINDOW_BYTES) {
      entry.wantsRoom = false;
      entry.channel?.onWritable?.();
    }
    return true;
  }

  /** See {@linkcode Channel.close}. */
  close(entry: ChannelEntry, reason: string): void {
    if (!this.#forget(entry)) return;
    this.#outbox.push({
      kind: "channelClose",
      channel: entry.number,
      reason: clampText(reason),
    });
  }

  /** A peer opened a channel. */
  handleOpen(message: Extract<ToEngine, { kind: "channelOpen" }>): void {
    const state = this.#state;
    const grant = state.channelById(message.channelId);
    const name = message.name === "" ? grant?.name ?? "" : message.name;
    const rule = this.#openRefusal(message, grant, name);
    if (rule !== undefined || grant === undefined) {
      state.deny("channel", rule ?? Rule.Undeclared, { id: message.channelId, peer: message.peer });
      this.#outbox.push({
        kind: "channelClose",
        channel: message.channel,
        reason: `refused: ${rule ?? Rule.Undeclared}`,
      });
      return;
    }
    const entry = this.#add(message.channel, grant, name, message.peer);
    this.#onChannel(entry.channel!);
  }

  #openRefusal(
    message: Extract<ToEngine, { kind: "channelOpen" }>,
    grant: ChannelGrant | undefined,
    name: string,
  ): Rule | undefined {
    const state = this.#state;
    if (grant === undefined) return Rule.Undeclared;
    if (message.channel < DRIVER_HANDLE_BIT || this.#entries.has(message.channel)) {
      return Rule.Format;
    }
    if (!state.isAuthority && message.peer !== SERVER_PEER) return Rule.Peer;
    const open = this.#countOf(message.peer, grant);
    for (const roleIndex of [state.roleIndex, state.roleOf(message.peer)]) {
      // Each end may have opened one at the same moment, so one more than declared is no offence.
      const decision = state.gate.decideOpen({
        channel: grant.index,
        name,
        roleIndex,
        open: Math.max(0, open - 1),
      });
      if (!decision.allowed) return decision.rule;
    }
    return this.#countOf(message.peer) >= MAX_OPEN_CHANNELS ? Rule.ChannelCount : undefined;
  }

  /** A piece of a message came. */
  handleData({ channel, piece, last }: Extract<ToEngine, { kind: "channelData" }>): void {
    const state = this.#state;
    const entry = this.#entries.get(channel);
    if (entry === undefined) {
      // Closed here while the piece was under way.
      state.counters.lateEntries += 1;
      return;
    }
    const facts = { id: entry.grant.id, peer: entry.peer };
    if (entry.driverWindow <= 0 && piece.length > 0) {
      state.deny("channel", Rule.Rate, facts);
      this.close(entry, "sent beyond the window");
      entry.channel?.onClose?.("the driver sent beyond the window");
      return;
    }
    entry.driverWindow -= piece.length;
    if (!entry.isRefusing) this.#takePiece(entry, piece, last, facts);
    else if (last) entry.isRefusing = false;
    if (entry.isOpen) this.#credit(entry, piece.length);
  }

  #takePiece(
    entry: ChannelEntry,
    piece: Uint8Array,
    last: boolean,
    facts: { readonly id: number; readonly peer: number },
  ): void {
    const state = this.#state;
    entry.receivedBytes += piece.length;
    const question = {
      channel: entry.grant.index,
      direction: "in",
      bytes: entry.receivedBytes,
    } as const;
    const sent = state.gate.decideChannel({
      ...question,
      op: "send",
      roleIndex: state.roleOf(entry.peer),
    });
    const received = state.gate.decideChannel({
      ...question,
      op: "receive",
      roleIndex: state.roleIndex,
    });
    const refusal = !sent.allowed ? sent : !received.allowed ? received : undefined;
    if (refusal !== undefined) {
      state.deny("channel", refusal.rule, facts);
      entry.isRefusing = !last;
    } else {
      append(entry, piece);
      if (!last) return;
    }
    const message = entry.received.subarray(0, entry.receivedBytes);
    entry.received = NOTHING;
    entry.receivedBytes = 0;
    if (refusal === undefined) entry.channel?.onMessage?.(message);
  }

  #credit(entry: ChannelEntry, bytes: number): void {
    entry.owedCredit += bytes;
    if (entry.owedCredit < CREDIT_STEP_BYTES) return;
    entry.driverWindow += entry.owedCredit;
    this.#outbox.push({
      kind: "channelCredit",
      channel: entry.number,
      bytes: entry.owedCredit,
    });
    entry.owedCredit = 0;
  }

  /** The driver takes more. */
  handleCredit({ channel, bytes }: Extract<ToEngine, { kind: "channelCredit" }>): void {
    const entry = this.#entries.get(channel);
    // A driver cannot grant itself an unbounded backlog: the window never exceeds its first size.
    if (entry !== undefined) entry.window = Math.min(CHANNEL_WINDOW_BYTES, entry.window + bytes);
  }

  /** The other side closed a channel. */
  handleClose({ channel, reason }: Extract<ToEngine, { kind: "channelClose" }>): void {
    const entry = this.#entries.get(channel);
    if (entry !== undefined && this.#forget(entry)) entry.channel?.onClose?.(reason);
  }

  /** This engine is out of the world, and every channel with it. */
  handleLeft(reason: string): void {
    for (const entry of [...this.#entries.values()]) {
      if (this.#forget(entry)) entry.channel?.onClose?.(reason);
    }
  }

  #forget(entry: ChannelEntry): boolean {
    entry.isOpen = false;
    entry.queue.length = 0;
    entry.bufferedBytes = 0;
    entry.received = NOTHING;
    return this.#entries.delete(entry.number);
  }

  #add(number: number, grant: ChannelGrant, name: string, peer: number): ChannelEntry {
    const entry: ChannelEntry = {
      number,
      grant,
      name,
      peer,
      channel: undefined,
      isOpen: true,
      queue: [],
      bufferedBytes: 0,
      window: CHANNEL_WINDOW_BYTES,
      wantsRoom: false,
      received: NOTHING,
      receivedBytes: 0,
      isRefusing: false,
      driverWindow: CHANNEL_WINDOW_BYTES,
      owedCredit: 0,
    };
    entry.channel = new Channel(this, entry);
    this.#entries.set(number, entry);
    return entry;
  }

  #countOf(peer: number, grant?: ChannelGrant): number {
    let count = 0;
    for (const entry of this.#entries.values()) {
      if (entry.peer === peer && (grant === undefined || entry.grant === grant)) count += 1;
    }
    return count;
  }
}

/** Puts a piece behind what came before it; `receivedBytes` counts it already. The gate has bounded the sum. */
function append(entry: ChannelEntry, piece: Uint8Array): void {
  if (entry.receivedBytes > entry.received.length) {
    const doubled = Math.min(entry.grant.maxBytes, entry.received.length * 2);
    const grown = new Uint8Array(Math.max(entry.receivedBytes, doubled));
    grown.set(entry.received);
    entry.received = grown;
  }
  entry.received.set(piece, entry.receivedBytes - piece.length);
}
