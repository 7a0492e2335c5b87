// One peer's datagrams, both ways: header, acknowledgements, round-trip time, and the sections of one send slot packed together.
// It checks a whole datagram before anything of it counts; what the contents mean is decided by the core that owns it.

import { AckTracker } from "../protocol/ack_tracker.ts";
import { decodeChannelDatagram, encodeChannelDatagram } from "../protocol/channel_frames.ts";
import {
  isSameWorldEpoch,
  readHeader,
  readSections,
  SECTION_HEADER_BYTES,
  SectionType,
  timeFromWire,
  writeHeader,
  writeSection,
} from "../protocol/datagram.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import {
  DATAGRAM_HEADER_BYTES,
  EVENT_VOUCH_TICKS,
  LOSS_REPAIR_TICKS,
  LOSSY_DATAGRAMS,
  MAX_DATAGRAM_BYTES,
  MAX_DATAGRAMS_PER_TICK,
  MAX_FAULTS_PER_S,
  MAX_PEER_DATAGRAMS_PER_S,
  MAX_QUEUED_MESSAGES,
  MAX_QUEUED_VOICE_FRAMES,
  MAX_SECTION_BYTES,
  MAX_TIME_AHEAD_MS,
  MIN_PEER_BYTES_PER_S,
  WORK_ENTRY,
  WORK_MESSAGE,
  WORK_VECTOR,
  WORK_VOICE_FRAME,
} from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { Reader } from "../protocol/reader.ts";
import { SentLog } from "../protocol/sent_log.ts";
import { unwrap16 } from "../protocol/sequence.ts";
import { SUBTICKS, tickOf, type TimelineTime } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";
import { isNameOf } from "../permissions/gate.ts";
import type { ChannelGrant } from "../permissions/grants.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { DecodedSnapshot, SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import type { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { Connection } from "../transport/connection.ts";
import { readVoiceSection, type VoiceFrame, VoiceSectionWriter } from "../voice/voice_section.ts";
import { ByteWindow } from "./byte_window.ts";
import type { Counters } from "./counters.ts";
import type { LogRing } from "./log_ring.ts";
import { type JoinBudget, MOST_ROUND_MS, RateControl } from "./rate_control.ts";
import { SettledTicks } from "./settled_ticks.ts";
import type { WorkBudget } from "./work_budget.ts";

/** One unreliable channel message. */
export interface ChannelMessage {
  /** Declared id of the channel or namespace. */
  readonly channelId: number;
  /** Full name of a channel inside a namespace, empty otherwise. */
  readonly name: string;
  /** Its bytes. */
  readonly body: Uint8Array;
}

/** A datagram that was found good as a whole. Valid until the next one is handled. */
export interface ReceivedDatagram {
  /** The sender's timeline time at sending. */
  readonly time: TimelineTime;
  /** State, decoded and held already. */
  readonly snapshot: DecodedSnapshot | undefined;
  /** Voice frames. */
  readonly voice: readonly VoiceFrame[];
  /** Unreliable channel messages. */
  readonly messages: readonly ChannelMessage[];
  /** Round-trip time measured by its acknowledgement, ms. */
  readonly rttMs: number | undefined;
}

/** Time after which state goes whatever goes beside it, ms: about the least of rates, less the voice in the same datagrams. */
const STATE_PAUSE_MS = 1000 * MAX_DATAGRAM_BYTES / MIN_PEER_BYTES_PER_S;

/** Bytes of state for which a datagram is worth its headers. */
const LEAST_STATE_BYTES = 450;

/** What a link needs. */
export interface PeerLinkOptions {
  /** The connection it sends on. */
  readonly connection: Connection;
  /** Outgoing state. */
  readonly sender: SnapshotSender;
  /** Incoming state. */
  readonly receiver: SnapshotReceiver;
  /** Declared channels: what a message may name. */
  readonly channels: readonly ChannelGrant[];
  /** World epoch that both ends agreed on. */
  readonly worldEpoch: number;
  /** Bytes of datagrams with state to this peer in any second, at most: the last of them may exceed it by a part of itself. */
  readonly bytesPerSecond: number;
  /** What counts in place of that while the peer has just joined. Left out: joins have no budget of their own. */
  readonly join?: JoinBudget;
  /** Ticks a second. */
  readonly tickHz: number;
  /** Where faults and traffic are counted. */
  readonly counters: Counters;
  /** Who is at the other end, for the log. */
  readonly peer: number;
  /** Where faults are written down. */
  readonly log: LogRing;
  /** The work that this peer may cause; its owner asks whether any is left. Left out: what its rates bound. */
  readonly work?: WorkBudget;
}

/**
 * The datagrams of one joined peer.
 *
 * Order of calls: `handleDatagram` for each one received; `queue*` any time; `sendSlot` once a tick with state, and in between
 * whenever `dueMs` has come.
 */
export class PeerLink {
  readonly #connection: Connection;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  readonly #options: PeerLinkOptions;
  readonly #counters: Counters;
  readonly #acks = new AckTracker();
  readonly #sent: SentLog;
  readonly #faultLimit = new RateLimiter({ rateHz: MAX_FAULTS_PER_S, maxKeys: 1 });
  /** Where nobody keeps an account of the peer's work. What is above it is not looked at, and no fault: a path may bring a second's at once. */
  readonly #datagramLimit = new RateLimiter({ rateHz: MAX_PEER_DATAGRAMS_PER_S, maxKeys: 1 });
  readonly #voice: VoiceFrame[] = [];
  /** Bodies of channel sections. */
  readonly #messages: Uint8Array[] = [];
  readonly #voiceWriter = new VoiceSectionWriter();
  readonly #snapshotWriter = new Writer(MAX_DATAGRAM_BYTES);
  readonly #writer = new Writer(MAX_DATAGRAM_BYTES);
  readonly #rate: RateControl;
  #budgetBytes = 0;
  #budgetMs = 0;
  /** Datagrams with state, whole: what else they carry counts too. */
  readonly #stateWindow = new ByteWindow();
  #newestTime: TimelineTime;
  readonly #settled: SettledTicks;
  /** Newest tick of a datagram that was sent. */
  #sentTick = 0;
  /** Datagrams acknowledged since one was lost. */
  #ackedSinceLoss = Infinity;
  /** Up to this tick a datagram goes in each slot. */
  #vouchTick = 0;
  #dueMs = Infinity;
  /** When state went last. */
  #stateMs = -Infinity;
  /** State went to this peer: one that has no point of view yet sees nothing, and has not got everything by that. */
  #hasSentState = false;
  /** The peer sent too much that is wrong: its connection is about to end. */
  #isFlooded = false;

  constructor(options: PeerLinkOptions, time: TimelineTime, nowMs: number) {
    this.#options = options;
    this.#connection = options.connection;
    this.#sender = options.sender;
    this.#receiver = options.receiver;
    this.#counters = options.counters;
    this.#sent = new SentLog(1000 / options.tickHz);
    this.#newestTime = time;
    this.#settled = new SettledTicks(tickOf(time));
    this.#rate = new RateControl(options.bytesPerSecond, options.tickHz, nowMs, options.join);
    this.#budgetBytes = this.#rate.bytesPerSecond / options.tickHz;
    this.#budgetMs = nowMs;
  }

  /** Smoothed round-trip time, ms. */
  get rttMs(): number {
    return this.#sent.rtt.smoothedMs;
  }

  /** Bytes held for the peer: what waits, what was sent and received of state. */
  get heldBytes(): number {
    let bytes = this.#sender.heldBytes + this.#receiver.heldBytes;
    for (const { payload } of this.#voice) bytes += payload.length;
    for (const message of this.#messages) bytes += message.length;
    return bytes;
  }

  /** The path was measured by other means, before any acknowledgement came. */
  handleRtt(ms: number): void {
    this.#sent.rtt.assume(ms);
  }

  /** Newest tick up to which the peer's state has arrived, as far as its datagrams tell: what events wait for. */
  settledTick(nowMs: number): number {
    const repairMs = 1.25 * this.rttMs + LOSS_REPAIR_TICKS * 1000 / this.#options.tickHz;
    return this.#settled.at(nowMs, repairMs);
  }

  /**
   * The peer has been told an event of `tick`. It waits to hear that the state of that tick has all been sent: where none goes, datagrams
   * without sections say so; several, as nobody acknowledges those.
   */
  vouchFor(tick: number, time: TimelineTime, nowMs: number): void {
    const present = tickOf(time);
    this.#vouchTick = Math.max(this.#vouchTick, Math.max(tick, present) + EVENT_VOUCH_TICKS);
    if (this.#sentTick < tick && tick <= present) this.#sendOne(time, nowMs, false, true);
  }

  /** When a datagram should go although no state slot has come: voice or messages wait, or an acknowledgement is overdue. */
  get dueMs(): number {
    return this.#acks.isAckOverdue ? 0 : this.#dueMs;
  }

  /** Queues a voice frame to go no later than `dueMs`; the oldest is dropped when too many wait. */
  queueVoice(frame: VoiceFrame, dueMs: number): void {
    if (this.#voice.length >= MAX_QUEUED_VOICE_FRAMES) {
      this.#voice.shift();
      this.#counters.add("voice.dropped");
    }
    this.#voice.push(frame);
    this.#dueMs = Math.min(this.#dueMs, dueMs);
  }

  /** Queues an unreliable message to go no later than `dueMs`; false when it can never fit or too many wait. */
  queueMessage(message: ChannelMessage, dueMs: number): boolean {
    const room = this.#connection.maxDatagramSize - DATAGRAM_HEADER_BYTES - SECTION_HEADER_BYTES;
    const { channelId, name, body: payload } = message;
    const section = encodeChannelDatagram({ channelId, name, payload }, name !== "");
    if (section.length > room || this.#messages.length >= MAX_QUEUED_MESSAGES) return false;
    this.#messages.push(section);
    this.#dueMs = Math.min(this.#dueMs, dueMs);
    return true;
  }

  /** The peer's rights have changed: voice and messages that wait, and might not be for it any more, are dropped. They may be lost anyway. */
  dropWaiting(): void {
    if (this.#voice.length > 0) this.#counters.add("voice.dropped", this.#voice.length);
    this.#voice.length = 0;
    if (this.#messages.length === 0) return;
    this.#counters.add("channel.messagesDropped", this.#messages.length);
    this.#messages.length = 0;
  }

  /**
   * Checks one datagram whole, then holds its state and takes its acknowledgements. `undefined`: it was dropped and counted.
   *
   * Order: size, rate, header, repeat, world epoch, time, section frames, acknowledgement, bodies. `present` is the timeline's time at
   * the end that holds it: no peer can be far ahead of that.
   */
  handleDatagram(
    bytes: Uint8Array,
    nowMs: number,
    present: TimelineTime = Infinity,
  ): ReceivedDatagram | undefined {
    this.#counters.add("net.bytesIn", bytes.length);
    this.#counters.add("net.datagramsIn");
    const { work } = this.#options;
    work?.spendDatagram();
    if (bytes.length > MAX_DATAGRAM_BYTES) return this.#drop(Fault.OutOfRange, nowMs);
    if (work === undefined && !this.#datagramLimit.take(0, nowMs)) {
      this.#counters.add("net.unreadDatagrams");
      return undefined;
    }
    const reader = new Reader(bytes);
    const header = readHeader(reader);
    if (header === undefined) return this.#drop(reader.fault!, nowMs);
    const sequence = unwrap16(header.sequence, Math.max(0, this.#acks.largest));
    if (this.#acks.check(sequence) !== "new") {
      // The network may repeat a datagram; that is nobody's fault.
      this.#counters.add("net.repeatedDatagrams");
      return undefined;
    }
    if (!isSameWorldEpoch(header.worldEpoch, this.#options.worldEpoch)) {
      this.#counters.add("net.otherEpochDatagrams");
      return undefined;
    }
    // Around the present, not around the newest received: after a long silence that one is half the ring away.
    const near = present === Infinity ? this.#newestTime : present;
    const time = timeFromWire(header.tick, header.sub, tickOf(near));
    const aheadMs = (time - present) * 1000 / (SUBTICKS * this.#options.tickHz);
    if (time < 0 || aheadMs > MAX_TIME_AHEAD_MS) return this.#drop(Fault.OutOfRange, nowMs);
    const sections = readSections(reader);
    if (sections === undefined) return this.#drop(reader.fault!, nowMs);
    if (header.ack !== undefined) {
      const fault = this.#sent.checkAck(header.ack);
      if (fault !== undefined) return this.#drop(fault, nowMs);
    }
    const messages: ChannelMessage[] = [];
    for (const body of sections.channels) {
      const message = this.#readMessage(body);
      if (typeof message === "number") return this.#drop(message, nowMs);
      messages.push(message);
    }
    let voice: readonly VoiceFrame[] = [];
    if (sections.voice !== undefined) {
      const section = new Reader(sections.voice);
      const frames = readVoiceSection(section, time, { allowSealed: false });
      if (frames === undefined) return this.#drop(section.fault!, nowMs);
      voice = frames;
    }
    let snapshot: DecodedSnapshot | undefined;
    if (sections.snapshot !== undefined) {
      const section = new Reader(sections.snapshot);
      snapshot = this.#receiver.decode(section, tickOf(time));
      if (snapshot === undefined) {
        if (section.fault === Fault.WrongEpoch) {
          // It crossed a change of role or ownership on its way: ordinary, repeated by its sender, and nobody's fault.
          this.#counters.add("net.otherGrantEpochDatagrams");
          return undefined;
        }
        return this.#drop(section.fault ?? Fault.NonCanonical, nowMs);
      }
      this.#receiver.commit(snapshot);
      const entries = snapshot.count + snapshot.pieces.length;
      work?.spend(entries * WORK_ENTRY + snapshot.vectors * WORK_VECTOR);
    }
    work?.spend(voice.length * WORK_VOICE_FRAME + messages.length * WORK_MESSAGE);
    const asksForAck = sections.snapshot !== undefined || sections.voice !== undefined ||
      sections.channels.length > 0;
    this.#acks.handleReceived(sequence, nowMs, asksForAck);
    if (time > this.#newestTime) this.#newestTime = time;
    this.#settled.handleReceived(sequence, tickOf(time), nowMs);
    let rttMs: number | undefined;
    if (header.ack !== undefined) {
      const before = this.#sent.ackedBytes;
      const result = this.#sent.handleAck(header.ack, nowMs);
      let asked = 0;
      for (const acked of result.newlyAcked) if (this.#sent.sizeOf(acked) > 0) asked += 1;
      this.#rate.handleAcked(this.#sent.ackedBytes - before, asked);
      if (result.rttSampleMs !== undefined) this.#rate.handleSample(result.rttSampleMs);
      for (const acked of result.newlyAcked) this.#sender.handleAcked(acked);
      this.#ackedSinceLoss += result.newlyAcked.length;
      for (const lost of result.lost) this.#lose(lost);
      rttMs = result.rttSampleMs;
    }
    return { time, snapshot, voice, messages, rttMs };
  }

  /** Sends what is due: voice and messages always, state when `withState`, and where nothing of it goes a bare header when that is due. */
  sendSlot(time: TimelineTime, nowMs: number, withState: boolean): void {
    for (const lost of this.#sent.pollLost(nowMs)) this.#lose(lost);
    if (withState) this.#receiver.expire(tickOf(time));
    this.#sender.isLossy = this.#ackedSinceLoss < LOSSY_DATAGRAMS;
    this.#sender.setRttTicks(this.rttMs * this.#options.tickHz / 1000);
    this.#rate.handleSlot(nowMs);
    this.#earnBudget(nowMs);
    let state = withState;
    for (let i = 0; i < MAX_DATAGRAMS_PER_TICK; i++) {
      const isBareDue = i === 0 &&
        (withState
          ? this.#acks.needsAck || tickOf(time) <= this.#vouchTick
          : this.#acks.isAckOverdue);
      const maySendState = state && this.#maySendState(nowMs);
      const sent = this.#sendOne(time, nowMs, maySendState, isBareDue);
      if (sent === "state") {
        this.#hasSentState = true;
        this.#stateMs = nowMs;
      } else if (maySendState) {
        // Nothing is left of what it may see: it is as everyone from now on.
        if (this.#hasSentState && this.#rate.isJoining) this.#rate.endJoin();
        this.#rate.handleIdle();
      }
      if (!sent) break;
      if (sent === "no state" && this.#voice.length === 0 && this.#messages.length === 0) {
        state = false;
      }
    }
    this.#dueMs = this.#voice.length > 0 || this.#messages.length > 0 ? nowMs : Infinity;
  }

  #sendOne(
    time: TimelineTime,
    nowMs: number,
    state: boolean,
    isBareDue: boolean,
  ): "state" | "no state" | false {
    const limit = Math.min(this.#connection.maxDatagramSize, MAX_DATAGRAM_BYTES);
    const sequence = this.#sent.nextSequence;
    let room = limit - DATAGRAM_HEADER_BYTES;
    let voiceBody: Uint8Array | undefined;
    if (this.#voice.length > 0) {
      this.#voiceWriter.begin(time);
      let taken = 0;
      while (
        taken < this.#voice.length &&
        this.#voiceWriter.tryAdd(
          this.#voice[taken]!,
          Math.min(room - SECTION_HEADER_BYTES, MAX_SECTION_BYTES),
        )
      ) taken += 1;
      this.#voice.splice(0, Math.max(taken, 1));
      if (taken > 0) {
        voiceBody = this.#voiceWriter.finish();
        room -= SECTION_HEADER_BYTES + voiceBody.length;
      } else {
        this.#counters.add("voice.dropped");
      }
    }
    const bodies: Uint8Array[] = [];
    while (this.#messages.length > 0 && bodies.length < 8) {
      const body = this.#messages[0]!;
      if (body.length + SECTION_HEADER_BYTES > room) {
        if (voiceBody !== undefined || bodies.length > 0) break;
        // The path's datagrams have become smaller than they were when it was queued.
        this.#messages.shift();
        this.#counters.add("channel.messagesDropped");
        continue;
      }
      room -= body.length + SECTION_HEADER_BYTES;
      bodies.push(body);
      this.#messages.shift();
    }
    let hasState = false;
    this.#snapshotWriter.clear();
    if (state && room > SECTION_HEADER_BYTES + 16) {
      const bits =
        Math.min(room - SECTION_HEADER_BYTES, MAX_SECTION_BYTES, this.#stateRoom(nowMs)) * 8;
      hasState = this.#sender.writeSection(this.#snapshotWriter, bits, tickOf(time), sequence);
    }
    const hasSections = hasState || voiceBody !== undefined || bodies.length > 0;
    if (!hasSections && !isBareDue) return false;
    const w = this.#writer;
    w.clear();
    writeHeader(w, {
      sequence,
      worldEpoch: this.#options.worldEpoch,
      time,
      ack: this.#acks.writeBlock(nowMs),
    });
    if (hasState) writeSection(w, SectionType.Snapshot, this.#snapshotWriter.view());
    if (voiceBody !== undefined) writeSection(w, SectionType.Voice, voiceBody);
    for (const body of bodies) writeSection(w, SectionType.Channel, body);
    const bytes = w.finish();
    this.#sent.add(sequence, nowMs, bytes.length, hasSections);
    if (hasSections) this.#rate.handleSent(bytes.length);
    this.#sentTick = Math.max(this.#sentTick, tickOf(time));
    const budget = this.#budgetBytes - bytes.length;
    if (hasState) {
      this.#budgetBytes = budget;
      // A join's bytes are its own budget's, and must not silence what comes after it.
      if (!this.#rate.isJoining) this.#stateWindow.add(nowMs, bytes.length);
    } else {
      // Voice and messages may overdraw the budget of state by one slot; a deeper debt would silence state long after they ended.
      const debt = this.#rate.bytesPerSecond / this.#options.tickHz;
      this.#budgetBytes = Math.max(budget, Math.min(this.#budgetBytes, -debt));
    }
    this.#counters.add("net.bytesOut", bytes.length);
    this.#counters.add("net.datagramsOut");
    if (!this.#connection.sendDatagram(bytes)) this.#counters.add("net.sendDropped");
    return hasState ? "state" : hasSections ? "no state" : false;
  }

  /**
   * Bytes of state in one datagram: on a narrow path those of a slot, as a full one would hold the wire for several. Large values need more,
   * and so does what waited for its turn beside voice.
   */
  #stateRoom(nowMs: number): number {
    const isFree = this.#rate.isUnlimited || this.#sender.isCramped;
    if (isFree || nowMs - this.#stateMs >= STATE_PAUSE_MS) return Infinity;
    return Math.max(LEAST_STATE_BYTES, this.#rate.bytesPerSecond / this.#options.tickHz);
  }

  /** State waits while the second's bytes are spent or more is under way than a round trip carries: nothing stale is ever queued. */
  #maySendState(nowMs: number): boolean {
    // Slots that come early or late could earn a little more within a second.
    if (this.#stateWindow.sum(nowMs) >= this.#options.bytesPerSecond) return false;
    // Whatever goes beside it, voice above all, state never stands still.
    if (nowMs - this.#stateMs >= STATE_PAUSE_MS) return true;
    // The round trip of the empty path: with what a queue adds to it the queue would grow.
    const roundMs = Math.min(this.rttMs, this.#rate.baseMs, MOST_ROUND_MS);
    const windowMs = roundMs + 2000 / this.#options.tickHz;
    const carried = this.#rate.bytesPerSecond * windowMs / 1000;
    const least = (this.#rate.isUnlimited ? 4 : 1) * MAX_DATAGRAM_BYTES;
    return this.#budgetBytes > 0 && this.#sent.inFlightBytes < Math.max(carried, least);
  }

  #earnBudget(nowMs: number): void {
    const { bytesPerSecond } = this.#rate;
    const earned = bytesPerSecond * Math.max(0, nowMs - this.#budgetMs) / 1000;
    // What was not made use of is not saved up: a burst of it would be missing from the rest of its second.
    const most = bytesPerSecond / this.#options.tickHz;
    this.#budgetBytes = Math.min(this.#budgetBytes + earned, most);
    this.#budgetMs = nowMs;
  }

  /** A channel section, or the fault in it; a message that no declaration covers spoils its datagram. */
  #readMessage(section: Uint8Array): ChannelMessage | Fault {
    const reader = new Reader(section);
    const declared = (id: number) =>
      this.#options.channels.find((channel) => channel.id === id && channel.mode === "unreliable");
    const message = decodeChannelDatagram(reader, (id) => declared(id)?.namespace);
    if (message === undefined) return reader.fault!;
    const { channelId, name, payload } = message;
    const grant = declared(channelId)!;
    if (grant.namespace && !isNameOf(grant, name)) return Fault.UnknownId;
    return payload.length > grant.maxBytes ? Fault.OutOfRange : { channelId, name, body: payload };
  }

  #lose(sequence: number): void {
    this.#counters.add("net.lostDatagrams");
    this.#rate.handleLost();
    this.#ackedSinceLoss = 0;
    this.#sender.handleLost(sequence);
  }

  #drop(fault: Fault, nowMs: number): undefined {
    this.countFault(fault, nowMs);
    return undefined;
  }

  /** Counts a fault of this peer; above what a bad path makes, the connection ends. */
  countFault(fault: Fault, nowMs: number): void {
    this.#counters.add(`fault.${faultName(fault)}`);
    this.#options.log.write(LogCode.Faulty, nowMs, this.#options.peer, fault);
    if (!this.#isFlooded && !this.#faultLimit.take(0, nowMs)) {
      this.#isFlooded = true;
      this.#counters.add("net.floodingPeersDropped");
      this.#options.log.write(LogCode.Flooding, nowMs, this.#options.peer);
      this.#connection.close(Fault.Flood, "too many faulty messages");
    }
  }
}
