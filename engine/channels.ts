// Channels between this engine and peers: messages cut into pieces, credit windows both ways, and the gate before each message. It knows
// frames only as messages to push; which bytes are on the socket is the outbox's business.

import { DRIVER_HANDLE_BIT, SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import {
  CHANNEL_PIECE_BYTES,
  CHANNEL_PROGRESS_MS,
  CHANNEL_WINDOW_BYTES,
  MAX_ENGINE_MESSAGES,
  MAX_OPEN_CHANNELS,
} from "../protocol/limits.ts";
import { isNameOf } from "../permissions/gate.ts";
import type { ChannelGrant } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { clampText } from "../protocol/engine_codec.ts";
import { Channel, type ChannelEntry, type ChannelOwner } from "./channel.ts";
import type { CallbackGuard } from "./callback_guard.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";
import { Reassembly } from "./reassembly.ts";

/** Consumed bytes are credited back in steps of a quarter window, so that credits stay rare. */
const CREDIT_STEP_BYTES = CHANNEL_WINDOW_BYTES / 4;

const NOTHING = new Uint8Array(0);

/** Whether a channel takes another message: by the bytes that wait, and by their number, as many may be empty. */
function hasRoom({ bufferedBytes, queue }: ChannelEntry): boolean {
  return bufferedBytes < CHANNEL_WINDOW_BYTES && queue.length < MAX_ENGINE_MESSAGES;
}

/** All channels of one link. */
export class ChannelTable implements ChannelOwner {
  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #guard: CallbackGuard;
  readonly #entries = new Map<number, ChannelEntry>();
  readonly #unfinished = new Reassembly();
  /** Channels whose credit is held back. */
  #waiting = 0;
  #hasMarks = false;
  #next = 1;

  /** @param guard Runs game code's callbacks, also those of the channels. */
  constructor(state: LinkState, outbox: LinkOutbox, guard: CallbackGuard) {
    this.#state = state;
    this.#outbox = outbox;
    this.#guard = guard;
  }

  /** Channels open. */
  get size(): number {
    return this.#entries.size;
  }

  /** Bytes of room that messages take which have not come whole. */
  get heldBytes(): number {
    return this.#unfinished.heldBytes;
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
    if (!hasRoom(entry)) {
      entry.wantsRoom = true;
      return false;
    }
    entry.queue.push({ bytes: bytes.slice(), at: 0 });
    entry.bufferedBytes += bytes.length;
    return true;
  }

  #sendUnreliable(entry: ChannelEntry, bytes: Uint8Array): boolean {
    if (
      bytes.length > CHANNEL_PIECE_BYTES || entry.window < bytes.length ||
      !this.#outbox.isWritable || this.#outbox.isCrowded
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
        if (this.#outbox.backlogBytes >= CHANNEL_WINDOW_BYTES || this.#outbox.isCrowded) return;
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
    if (entry.wantsRoom && hasRoom(entry)) {
      entry.wantsRoom = false;
      this.#guard.run(() => entry.channel?.onWritable?.());
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
    this.#guard.callbacks.onChannel?.(entry.channel!);
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
    // A driver cannot speak for peers that it has not announced, so that channels are bounded by the peers there may be.
    const isThere = state.isAuthority
      ? state.peers.has(message.peer)
      : message.peer === SERVER_PEER;
    if (!isThere) return Rule.Peer;
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
      return this.#end(entry, "sent beyond the window");
    }
    entry.driverWindow -= piece.length;
    const rule = entry.isRefusing ? undefined : this.#refusal(entry, piece.length, last);
    if (rule !== undefined) {
      state.deny("channel", rule, facts);
      entry.isRefusing = true;
      this.#drop(entry);
    }
    if (!entry.isRefusing) this.#takePiece(entry, piece, last);
    else if (last) entry.isRefusing = false;
    if (entry.isOpen) this.#credit(entry, piece.length);
  }

  /** Why the current message may not have this piece. */
  #refusal(entry: ChannelEntry, bytes: number, last: boolean): Rule | undefined {
    const { gate, roleIndex } = this.#state;
    if (entry.grant.mode === "unreliable" && !last) return Rule.Format;
    const question = {
      channel: entry.grant.index,
      direction: "in",
      bytes: entry.incoming.length + bytes,
    } as const;
    const sender = this.#state.roleOf(entry.peer);
    const sent = gate.decideChannel({ ...question, op: "send", roleIndex: sender });
    if (!sent.allowed) return sent.rule;
    const received = gate.decideChannel({ ...question, op: "receive", roleIndex });
    return received.allowed ? undefined : received.rule;
  }

  #takePiece(entry: ChannelEntry, piece: Uint8Array, last: boolean): void {
    this.#unfinished.append(entry.incoming, piece);
    if (last) {
      entry.mark = undefined;
      const message = this.#unfinished.take(entry.incoming);
      this.#releaseWaiting();
      this.#guard.run(() => entry.channel?.onMessage?.(message));
      return;
    }
    while (this.#unfinished.isOverfull) {
      const victim = this.#unfinished.largest();
      const loser = [...this.#entries.values()].find((one) => one.incoming === victim);
      if (loser === undefined) break;
      this.#state.deny("channel", Rule.Size, { id: loser.grant.id, peer: loser.peer });
      this.#end(loser, "too much is held of messages that are not whole");
    }
  }

  /** Gives up the message that is on its way in. */
  #drop(entry: ChannelEntry): void {
    entry.mark = undefined;
    this.#unfinished.take(entry.incoming);
    this.#releaseWaiting();
  }

  #credit(entry: ChannelEntry, bytes: number): void {
    entry.owedCredit += bytes;
    if (entry.owedCredit < CREDIT_STEP_BYTES) return;
    if (this.#unfinished.mayGrow(entry.incoming)) return this.#grant(entry);
    if (entry.isWaiting) return;
    entry.isWaiting = true;
    this.#waiting += 1;
  }

  #grant(entry: ChannelEntry): void {
    entry.driverWindow += entry.owedCredit;
    this.#outbox.push({
      kind: "channelCredit",
      channel: entry.number,
      bytes: entry.owedCredit,
    });
    entry.owedCredit = 0;
  }

  /** Room came free: whoever may go on now is granted what was held back. */
  #releaseWaiting(): void {
    if (this.#waiting === 0) return;
    for (const entry of this.#entries.values()) {
      if (!entry.isWaiting || !this.#unfinished.mayGrow(entry.incoming)) continue;
      this.#stopWaiting(entry);
      this.#grant(entry);
    }
  }

  #stopWaiting(entry: ChannelEntry): void {
    if (!entry.isWaiting) return;
    entry.isWaiting = false;
    this.#waiting -= 1;
  }

  /** Time has passed: messages that take the room of others and do not go on are given up with their channel. */
  handleTimer(): void {
    if (this.#waiting === 0 && !this.#hasMarks) return;
    this.#hasMarks = this.#waiting > 0;
    const { nowMs } = this.#state;
    const waitingPeers = new Set<number>();
    for (const { isWaiting, peer } of this.#entries.values()) if (isWaiting) waitingPeers.add(peer);
    for (const entry of [...this.#entries.values()]) {
      const isInTheWay = waitingPeers.has(entry.peer) ||
        (waitingPeers.size > 0 && this.#unfinished.isFull);
      // Without a window its sender can do nothing.
      if (!isInTheWay || entry.incoming.length === 0 || entry.driverWindow <= 0) {
        entry.mark = undefined;
      } else if (entry.mark === undefined || entry.incoming.length >= entry.mark.dueLength) {
        entry.mark = { atMs: nowMs, dueLength: entry.incoming.length + entry.driverWindow };
      } else if (nowMs - entry.mark.atMs >= CHANNEL_PROGRESS_MS) {
        this.#state.deny("channel", Rule.Rate, { id: entry.grant.id, peer: entry.peer });
        this.#end(entry, "its message did not go on while others waited");
      }
    }
  }

  /** The driver takes more. */
  handleCredit({ channel, bytes }: Extract<ToEngine, { kind: "channelCredit" }>): void {
    const entry = this.#entries.get(channel);
    // A driver cannot grant itself an unbounded backlog: the window never exceeds its first size.
    if (entry !== undefined) entry.window = Math.min(CHANNEL_WINDOW_BYTES, entry.window + bytes);
  }

  /** Closes a channel for both sides. */
  #end(entry: ChannelEntry, reason: string): void {
    if (!entry.isOpen) return;
    this.close(entry, reason);
    this.#guard.run(() => entry.channel?.onClose?.(reason));
  }

  /** The other side closed a channel. */
  handleClose({ channel, reason }: Extract<ToEngine, { kind: "channelClose" }>): void {
    const entry = this.#entries.get(channel);
    if (entry !== undefined && this.#forget(entry)) {
      this.#guard.run(() => entry.channel?.onClose?.(reason));
    }
  }

  /** This engine is out of the world, and every channel with it. */
  handleLeft(reason: string): void {
    for (const entry of [...this.#entries.values()]) {
      if (this.#forget(entry)) this.#guard.run(() => entry.channel?.onClose?.(reason));
    }
  }

  #forget(entry: ChannelEntry): boolean {
    entry.isOpen = false;
    entry.queue.length = 0;
    entry.bufferedBytes = 0;
    this.#stopWaiting(entry);
    const wasOpen = this.#entries.delete(entry.number);
    this.#drop(entry);
    return wasOpen;
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
      incoming: { peer, maxBytes: grant.maxBytes, bytes: NOTHING, length: 0 },
      mark: undefined,
      isRefusing: false,
      driverWindow: CHANNEL_WINDOW_BYTES,
      owedCredit: 0,
      isWaiting: false,
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
