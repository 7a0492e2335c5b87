// The conversation with one driver after another: greeting, joining, every kind of message to the door it belongs to, heartbeats, and the
// ends of it all. What a message does to world, channels or roster is decided behind those doors.

import { CloseCode } from "../protocol/close_codes.ts";
import { clampText } from "../protocol/engine_codec.ts";
import {
  ALL_PEERS,
  type ConnectOrder,
  type Handle,
  SERVER_PEER,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import { ENGINE_LINK_VERSION, RESYNC_CONFIRM_MS } from "../protocol/limits.ts";
import { Rule } from "../permissions/rule.ts";
import type { ChannelTable } from "./channels.ts";
import { DriverSession } from "./driver_session.ts";
import { checkHello } from "./hello_check.ts";
import type { IdentityTools } from "./identity_check.ts";
import type { JoinSigner } from "./join_signer.ts";
import type { EngineCallbacks } from "./link_events.ts";
import type { LinkOutbox } from "./link_outbox.ts";
import type { LinkState } from "./link_state.ts";
import type { LogReader } from "./log_reader.ts";
import type { NonceKeeper } from "./nonce_keeper.ts";
import { takeOwnGrants } from "./own_grants.ts";
import { PeerDoor } from "./peer_door.ts";
import { ReportDoor } from "./report_door.ts";
import type { RevokedFields } from "./revoked_fields.ts";
import type { PeerRoster } from "./roster.ts";
import type { Signals } from "./signals.ts";
import type { StateReceiver } from "./state_receiver.ts";
import type { StatePacker } from "./state_packer.ts";

/** The doors behind which messages are decided, and what else the conversation needs. */
export interface DialogueParts {
  /** What all parts share. */
  readonly state: LinkState;
  /** Frames on their way out. */
  readonly outbox: LinkOutbox;
  /** The engine's own entities. */
  readonly packer: StatePacker;
  /** The driver's batches. */
  readonly receiver: StateReceiver;
  /** Events, voice, hashes. */
  readonly signals: Signals;
  /** Channels. */
  readonly channels: ChannelTable;
  /** Other peers. */
  readonly roster: PeerRoster;
  /** Signatures for the driver. */
  readonly signer: JoinSigner;
  /** Questions about the driver's log. */
  readonly logs: LogReader;
  /** Join tokens that were used. */
  readonly nonces: NonceKeeper;
  /** Checks of who peers are; left out, this engine believes nobody. */
  readonly identityTools: IdentityTools | undefined;
  /** What this engine may not know any more. */
  readonly revoked: RevokedFields;
  /** Game code. */
  readonly callbacks: EngineCallbacks;
  /** Sends what the engine answers for: called right after joining. */
  readonly flush: () => void;
}

/** A message of the driver of one kind. */
type From<K extends ToEngine["kind"]> = Extract<ToEngine, { kind: K }>;

/** Order of calls: as for `EngineLink`, whose calls come through here. */
export class DriverDialogue {
  /** Where the next driver shall connect. */
  connect: ConnectOrder | undefined;

  readonly #state: LinkState;
  readonly #outbox: LinkOutbox;
  readonly #packer: StatePacker;
  readonly #receiver: StateReceiver;
  readonly #signals: Signals;
  readonly #channels: ChannelTable;
  readonly #roster: PeerRoster;
  readonly #signer: JoinSigner;
  readonly #logs: LogReader;
  readonly #nonces: NonceKeeper;
  readonly #peers: PeerDoor;
  readonly #reports: ReportDoor;
  readonly #revoked: RevokedFields;
  readonly #callbacks: EngineCallbacks;
  readonly #flush: () => void;
  #session: DriverSession | undefined;
  #resume: Uint8Array = new Uint8Array(0);
  #hasJoined = false;
  #hasLostDriver = false;
  #confirmByMs = Infinity;

  /** Waits for the first driver. */
  constructor(parts: DialogueParts) {
    this.#state = parts.state;
    this.#outbox = parts.outbox;
    this.#packer = parts.packer;
    this.#receiver = parts.receiver;
    this.#signals = parts.signals;
    this.#channels = parts.channels;
    this.#roster = parts.roster;
    this.#signer = parts.signer;
    this.#logs = parts.logs;
    this.#nonces = parts.nonces;
    this.#peers = new PeerDoor(parts);
    this.#reports = new ReportDoor(parts.state, parts.callbacks);
    this.#revoked = parts.revoked;
    this.#callbacks = parts.callbacks;
    this.#flush = parts.flush;
  }

  /** A connection is there. */
  get isConnected(): boolean {
    return this.#session !== undefined;
  }

  /** The driver has been welcomed, in the world or not. */
  get isWelcomed(): boolean {
    const stage = this.#session?.stage;
    return stage !== undefined && stage !== "greeting" && stage !== "closing";
  }

  /** The driver is in the world. */
  get isJoined(): boolean {
    return this.#session?.stage === "joined";
  }

  /** Some driver has been in the world. */
  get hasJoined(): boolean {
    return this.#hasJoined;
  }

  /** The connection shall be closed once everything is written. */
  get wantsClose(): boolean {
    return this.#session?.stage === "closing";
  }

  /** A driver connected; there was none. */
  handleConnected(): void {
    this.#session = new DriverSession(this.#state.nowMs);
  }

  /** Bytes came. */
  handleBytes(chunk: Uint8Array): void {
    const session = this.#session;
    if (session === undefined || session.stage === "closing") return;
    session.handleBytes(chunk, this.#state.nowMs);
    for (;;) {
      const decoded = session.poll();
      if (decoded === undefined) break;
      if (decoded.ok) this.#handle(session, decoded.message);
      else this.#fail(decoded.fault, "a frame");
      // A message or a callback may have ended the session.
      if (this.#session !== session || this.wantsClose) break;
    }
    if (this.#outbox.isOverfull) this.end(CloseCode.Overloaded, "the driver does not read");
  }

  /** The connection is over, whoever ended it. */
  handleClosed(): void {
    if (this.#session === undefined) return;
    const stage = this.#session.stage;
    this.#session = undefined;
    this.#outbox.clear();
    if (stage !== "closing" && stage !== "greeting") this.#lose("the connection ended");
  }

  /** Time has passed: heartbeats, hung drivers, entities that nobody confirmed. */
  handleTimer(): void {
    const { nowMs } = this.#state;
    const session = this.#session;
    if (session !== undefined && session.stage !== "closing") {
      if (session.isHung(nowMs)) this.end(CloseCode.Silence, "nothing was heard for too long");
      else if (session.stage !== "greeting" && session.isPingDue(nowMs)) {
        if (this.#outbox.isWritable) this.#outbox.push({ kind: "ping", time: nowMs });
      }
    }
    if (nowMs >= this.#confirmByMs) {
      this.#confirmByMs = Infinity;
      this.#dropUnconfirmed();
    }
  }

  #handle(session: DriverSession, message: ToEngine): void {
    if (message.kind === "goodbye") {
      this.end(undefined, `the driver said goodbye: ${message.reason}`);
    } else if (message.kind === "ping") {
      if (this.#outbox.isWritable) this.#outbox.push({ kind: "pong", time: message.time });
    } else if (message.kind === "pong") {
      // Bytes of any kind count as a sign of life.
    } else if (session.stage === "greeting") {
      if (message.kind === "hello") this.#handleHello(session, message);
      else this.#fail(Fault.Unexpected, message.kind);
    } else if (message.kind === "joined") {
      this.#handleJoined(session, message);
    } else if (message.kind === "hello" || (session.stage === "welcomed" && !isEarly(message))) {
      this.#fail(Fault.Unexpected, message.kind);
    } else if (session.stage !== "joined" && isOfWorld(message)) {
      // It was under way when the driver left the world.
      this.#state.counters.lateEntries += 1;
    } else this.#dispatch(message);
  }

  #handleHello(session: DriverSession, hello: From<"hello">): void {
    const reason = checkHello(hello, this.#state.grants, this.#state.role);
    if (reason !== undefined) {
      this.#state.counters.driversRefused += 1;
      this.end(Fault.Incompatible, reason);
      this.#callbacks.onDriverRefused?.(reason);
      return;
    }
    const table: number[] = [];
    for (const { handle, id } of this.#state.ledger.records()) if (id !== 0) table.push(handle, id);
    for (const [handle, id] of this.#packer.graves()) if (id !== 0) table.push(handle, id);
    session.stage = "welcomed";
    this.#outbox.push({
      kind: "welcome",
      linkVersion: ENGINE_LINK_VERSION,
      schemaHash: this.#state.grants.schemaHash,
      connect: this.connect,
      resume: this.#resume,
      nonces: this.#nonces.records(),
      entities: Uint32Array.from(table),
    });
    this.#callbacks.onDriverReady?.(hello);
    if (this.#hasLostDriver) this.#callbacks.onDriverBack?.();
  }

  #handleJoined(session: DriverSession, message: From<"joined">): void {
    const state = this.#state;
    const roleIndex = state.roleIndexOf(message.roleId);
    const isFit = state.isAuthority
      ? message.peer === SERVER_PEER && roleIndex === state.roleIndex
      : message.peer !== SERVER_PEER && message.peer !== ALL_PEERS && roleIndex !== undefined &&
        roleIndex !== 0;
    if (!isFit || roleIndex === undefined) return this.#fail(Fault.OutOfRange, "joined");
    const isAgain = this.#hasJoined;
    if (session.stage === "joined") this.#handleUnjoined("joined anew");
    if (isAgain && !message.resumed) this.#forgetOthers();
    const before = state.peer;
    state.peer = message.peer;
    state.roleIndex = roleIndex;
    if (!message.resumed) state.ownAdjusted.clear();
    for (const record of state.ledger.records()) {
      if (record.owner === before) record.owner = message.peer;
    }
    const notices = this.#revoked.handleRights();
    if (isAgain && !message.resumed) {
      const removed = (handle: Handle, name: string) =>
        this.#callbacks.onRemoteRemove?.(handle, name);
      notices.push(...this.#revoked.handleNewLife(removed));
    }
    this.#packer.resync();
    if (isAgain) {
      this.#confirmByMs = state.nowMs +
        (state.isAuthority ? state.grants.resumeMs : RESYNC_CONFIRM_MS);
    }
    this.#resume = message.resume.slice();
    this.#hasJoined = true;
    session.stage = "joined";
    for (const notice of notices) notice();
    this.#callbacks.onJoined?.({
      peer: message.peer,
      role: state.grants.roles[roleIndex]!.name,
      resumed: message.resumed,
      timeline: message.timeline,
      listen: message.listen,
    });
    if (this.isJoined) this.#flush();
  }

  #dispatch(message: Exclude<ToEngine, From<"hello" | "joined" | "ping" | "pong" | "goodbye">>) {
    switch (message.kind) {
      case "batch":
        return this.#receiver.apply(message);
      case "named":
        return this.#handleNamed(message.pairs);
      case "stamped":
        this.#packer.handleStamped(message.id);
        return this.#callbacks.onStamped?.(message.id, message.time);
      case "spawnRefused":
        return this.#handleSpawnRefused(message);
      case "peerJoin":
      case "roleChanged":
        return this.#check(this.#peers.handleRole(message), message.kind);
      case "grantsChanged":
        if (this.#state.isAuthority) return this.#fail(Fault.Unexpected, message.kind);
        takeOwnGrants(this.#state, message.adjustments);
        for (const notice of this.#revoked.handleRights()) notice();
        return;
      case "peerLeave":
        this.#dropUnconfirmed(message.peer);
        return this.#roster.handleLeave(message.peer, message.reason);
      case "event":
        return this.#signals.handleEvent(message);
      case "voice":
        return this.#signals.handleVoice(message);
      case "stateHash":
        return this.#signals.handleHashes(message);
      case "channelOpen":
        return this.#channels.handleOpen(message);
      case "channelData":
        return this.#channels.handleData(message);
      case "channelCredit":
        return this.#channels.handleCredit(message);
      case "channelClose":
        return this.#channels.handleClose(message);
      case "left":
        if (this.isJoined) {
          this.#session!.stage = "left";
          this.#handleUnjoined("left the world");
        }
        return this.#callbacks.onLeft?.(message.code, message.reason, message.final);
      case "sign":
        if (this.#state.isAuthority) return this.#fail(Fault.Unexpected, message.kind);
        return this.#signer.handle(message, this.connect);
      case "nonces":
        if (!this.#state.isAuthority) return this.#fail(Fault.Unexpected, message.kind);
        return this.#peers.handleNonces(message.used);
      case "identity":
        if (!this.#state.isAuthority) return this.#fail(Fault.Unexpected, message.kind);
        return this.#peers.handleIdentity(message);
      case "denied":
        return this.#reports.handleDenied(message);
      case "violation":
        if (!this.#state.isAuthority) return this.#fail(Fault.Unexpected, message.kind);
        return this.#check(this.#reports.handleViolation(message), message.kind);
      case "log":
        return this.#logs.handleAnswer(message);
      case "stats":
        return this.#reports.handleStats(message);
    }
  }

  #handleNamed(pairs: Uint32Array): void {
    const { ledger } = this.#state;
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const record = ledger.get(pairs[i]!);
      const holder = ledger.byId(pairs[i + 1]!);
      if (record === undefined) this.#state.counters.lateEntries += 1;
      else if (holder !== undefined && holder !== record) {
        this.#state.deny("spawn", Rule.EntityUnknown, { handle: record.handle });
      } else ledger.name(record, pairs[i + 1]!);
    }
  }

  #handleSpawnRefused({ handle, rule }: From<"spawnRefused">): void {
    const record = this.#state.ledger.get(handle);
    if (record === undefined || !this.#state.isMine(record)) {
      this.#state.counters.lateEntries += 1;
      return;
    }
    // An entity that has a network id was taken up: nobody refuses the holder of authority what it has.
    if (this.#state.isAuthority && record.id !== 0) {
      return void this.#state.deny("spawn", Rule.NotOwner, { handle });
    }
    this.#packer.forget(record);
    this.#state.world.destroy(handle);
    this.#callbacks.onSpawnRefused?.(handle, rule);
  }

  #check(fault: Fault | undefined, what: string): void {
    if (fault !== undefined) this.#fail(fault, what);
  }

  /** Ends the session after a frame that no correct driver sends. */
  #fail(fault: Fault, what: string): void {
    this.#state.counters.faultyFrames += 1;
    this.end(fault, `${faultName(fault)} in ${what} from the driver`);
  }

  /** Ends the session: with a goodbye when there is a code. */
  end(code: number | undefined, reason: string): void {
    const session = this.#session;
    if (session === undefined || session.stage === "closing") return;
    const wasReady = session.stage !== "greeting";
    if (code !== undefined) {
      this.#outbox.push({ kind: "goodbye", code, reason: clampText(reason) });
    }
    session.stage = "closing";
    if (wasReady) this.#lose(reason);
  }

  #lose(reason: string): void {
    this.#hasLostDriver = true;
    this.#state.counters.driversLost += 1;
    this.#handleUnjoined("driver lost");
    this.#signals.handleDriverLost();
    this.#signer.handleDriverLost();
    this.#logs.handleDriverLost();
    this.#callbacks.onDriverLost?.(reason);
  }

  /** This engine is out of the world until the next `joined`: whatever others have in it has to be announced again. */
  #handleUnjoined(reason: string): void {
    this.#confirmByMs = Infinity;
    this.#packer.handleLeft();
    this.#roster.handleLeft();
    this.#channels.handleLeft(reason);
  }

  /** Despawns entities that no driver confirmed; with `owner` those of one peer. */
  #dropUnconfirmed(owner?: number): void {
    for (const record of [...this.#state.ledger.records()]) {
      if (record.isConfirmed || (owner !== undefined && record.owner !== owner)) continue;
      this.#receiver.drop(record);
    }
    if (owner === undefined) this.#roster.dropUnconfirmed();
  }

  /** A life of this engine in the world is over: entities of others go, and its own lose their names. */
  #forgetOthers(): void {
    const state = this.#state;
    for (const record of [...state.ledger.records()]) {
      if (!state.isMine(record)) this.#receiver.drop(record);
      else if (!state.isAuthority) state.ledger.name(record, 0);
    }
    this.#roster.dropUnconfirmed();
  }
}

/** What means nothing while the driver is not in the world. */
function isOfWorld({ kind }: ToEngine): boolean {
  return kind === "batch" || kind === "named" || kind === "spawnRefused" || kind === "event" ||
    kind === "voice" || kind === "channelOpen" || kind === "channelData";
}

/** What a driver may say between welcome and joined. */
function isEarly(message: ToEngine): boolean {
  return message.kind === "left" || message.kind === "grantsChanged" || message.kind === "stats" ||
    message.kind === "denied" ||
    message.kind === "sign" || message.kind === "log";
}
