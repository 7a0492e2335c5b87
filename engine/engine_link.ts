// The engine's end of the link, whole but for the socket: what game code calls, what the driver says, and when which of both counts. The
// doors (state, signals, channels) have files of their own; bytes go in and out as arguments, and time is a function given at birth.

import { CloseCode } from "../protocol/close_codes.ts";
import { clampText, encodeToDriver } from "../protocol/engine_codec.ts";
import {
  ALL_PEERS,
  type ConnectOrder,
  type Handle,
  SERVER_PEER,
  type ToDriver,
  type ToEngine,
} from "../protocol/engine_messages.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import { encodeFrame } from "../protocol/frame_buffer.ts";
import { ENGINE_LINK_VERSION, RESYNC_CONFIRM_MS } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { type Channel, ChannelTable } from "./channels.ts";
import { DriverSession } from "./driver_session.ts";
import { checkHello } from "./hello_check.ts";
import { EngineCallbacks } from "./link_events.ts";
import { LinkOutbox } from "./link_outbox.ts";
import { type LinkCounters, type LinkRole, LinkState } from "./link_state.ts";
import { PeerRoster } from "./roster.ts";
import { Signals } from "./signals.ts";
import { StateReceiver } from "./state_receiver.ts";
import { type Components, StateSender } from "./state_sender.ts";
import type { ComponentValues } from "./values.ts";
import type { WorldAdapter } from "./world_adapter.ts";

/** What an engine link needs. */
export interface EngineLinkOptions {
  /** This engine's own tables, compiled from its own manifest. */
  readonly grants: Grants;
  /** The role in that manifest's `host` part. */
  readonly role: LinkRole;
  /** The engine's world. */
  readonly world: WorldAdapter;
  /** The present time in ms; a clock that does not go back. */
  readonly now: () => number;
  /** Where a client's driver shall connect; left out, where its manifest says. */
  readonly connect?: ConnectOrder | undefined;
  /** First callbacks; they can be set on the link later, too. */
  readonly callbacks?: EngineCallbacks | undefined;
  /** Called when there may be bytes to write, or the connection to close. */
  readonly wake?: (() => void) | undefined;
}

/** A message of the driver of one kind. */
type From<K extends ToEngine["kind"]> = Extract<ToEngine, { kind: K }>;

/**
 * One engine's link to its driver, whichever driver lives.
 *
 * Game code: `spawn`, `set` and so on at any time, `flush` once a tick. What it may not do is refused with false (0 for `spawn`,
 * `undefined` for `openChannel`), counted, and reported by `onDenied`.
 *
 * The program that owns the socket: `handleConnected`; `handleBytes` for what it reads; `handleClosed` at the end; `handleTimer` at least
 * every 100 ms; and after each of these, and when woken: write what `pollBytes` gives, call `handleWritten`, and once nothing is left
 * close the connection if `wantsClose`.
 *
 * A lost driver: the world goes on; the next driver is given the table of handles and network ids and the resume ticket, and after its
 * `joined` every entity of this engine goes out whole in the first batch. Entities of others stay until the new driver announces them
 * again under the same handle; those that it does not announce in time are despawned (`RESYNC_CONFIRM_MS` on a client, the world's
 * resume time on the holder of authority, whose peers may take that long to come back). When a driver joins without resuming, entities
 * of others are despawned at once: their ids belong to a life that is over.
 */
export class EngineLink extends EngineCallbacks {
  readonly #state: LinkState;
  readonly #outbox = new LinkOutbox();
  readonly #sender: StateSender;
  readonly #receiver: StateReceiver;
  readonly #signals: Signals;
  readonly #channels: ChannelTable;
  readonly #roster: PeerRoster;
  readonly #wake: () => void;
  #connect: ConnectOrder | undefined;
  #session: DriverSession | undefined;
  #resume: Uint8Array = new Uint8Array(0);
  #hasJoined = false;
  #hasLostDriver = false;
  #confirmByMs = Infinity;
  #isClosed = false;

  /** Makes a link without a driver; game code can begin at once. */
  constructor(options: EngineLinkOptions) {
    super();
    Object.assign(this, options.callbacks);
    this.#state = new LinkState(options.grants, options.role, options.world, options.now);
    this.#wake = options.wake ?? (() => {});
    this.#connect = options.connect;
    this.#sender = new StateSender(
      this.#state,
      (record, rule) => this.onSpawnRefused?.(record.handle, rule),
    );
    this.#receiver = new StateReceiver(this.#state, this.#sender, {
      spawned: (handle, owner) => this.onSpawn?.(handle, owner),
      despawned: (handle) => this.onDespawn?.(handle),
      changed: (handle, name, values, at) => this.onRemoteChange?.(handle, name, values, at),
      removed: (handle, name) => this.onRemoteRemove?.(handle, name),
      hidden: (handle, name) => this.onHide?.(handle, name),
      ownerChanged: (handle, owner, epoch) => this.onOwnerChange?.(handle, owner, epoch),
    });
    this.#signals = new Signals(this.#state, this.#outbox, this.#sender, this);
    this.#channels = new ChannelTable(
      this.#state,
      this.#outbox,
      (channel) => this.onChannel?.(channel),
    );
    this.#roster = new PeerRoster(this.#state, this);
  }

  // ---- what game code asks

  /** A driver is connected and has joined: what is flushed goes out. */
  get isJoined(): boolean {
    return this.#session?.stage === "joined";
  }

  /** This engine's peer id; `undefined` until a client has joined. */
  get peer(): number | undefined {
    return this.#state.isAuthority || this.#hasJoined ? this.#state.peer : undefined;
  }

  /** Name of this engine's role. */
  get roleName(): string {
    return this.#state.grants.roles[this.#state.roleIndex]!.name;
  }

  /** Peer ids of all others in the world. */
  get peers(): readonly number[] {
    return [...this.#state.peers.keys()];
  }

  /** Counters since the link was made, with the sum of its own denials. */
  get stats(): Readonly<
    LinkCounters & { denials: number; entities: number; backlogBytes: number }
  > {
    return {
      ...this.#state.counters,
      denials: this.#state.denials.total,
      entities: this.#state.ledger.size,
      backlogBytes: this.#outbox.backlogBytes,
    };
  }

  /** Own denials by kind, key `rule subject id`. */
  get denialTotals(): ReadonlyMap<string, number> {
    return this.#state.denials.totals;
  }

  /** The owner of a replicated entity; `undefined` for others, and for a client's own before it has joined. */
  ownerOf(handle: Handle): number | undefined {
    const owner = this.#state.ledger.get(handle)?.owner;
    return owner === undefined || owner < 0 ? undefined : owner;
  }

  /** Whether this engine owns the entity. */
  isOwn(handle: Handle): boolean {
    const record = this.#state.ledger.get(handle);
    return record !== undefined && this.#state.isOwn(record);
  }

  /** The network id of an entity; 0 while it has none. Ids are the same at every peer, handles are not. */
  networkIdOf(handle: Handle): number {
    return this.#state.ledger.get(handle)?.id ?? 0;
  }

  /** The handle of a network id; 0 when no such entity is here. */
  handleOf(networkId: number): Handle {
    return this.#state.ledger.byId(networkId)?.handle ?? 0;
  }

  // ---- what game code does

  /**
   * Makes an entity with components, at once, driver or not; fields that are not given are neutral. The holder of authority may name
   * another owner.
   *
   * @returns its handle, or 0 when it is denied.
   */
  spawn(components: Components, options: { readonly owner?: number } = {}): Handle {
    return this.#sender.spawn(components, options.owner);
  }

  /** Takes an entity out of the world. */
  despawn(handle: Handle): boolean {
    return this.#sender.despawn(handle);
  }

  /** Sets fields of a component, all or none; adds the component where it is missing. */
  set(handle: Handle, component: string, values: ComponentValues): boolean {
    return this.#sender.set(handle, component, values);
  }

  /** Takes a component away. */
  remove(handle: Handle, component: string): boolean {
    return this.#sender.remove(handle, component);
  }

  /** The present value of a component. */
  get(handle: Handle, component: string): ComponentValues | undefined {
    return this.#state.world.read(handle, component);
  }

  /** Sends everything that changed as one batch (more only above 8 MiB), and what waits behind it; returns the last batch's id, or 0. */
  flush(): number {
    this.#sender.collectChanges();
    let last = 0;
    if (this.isJoined) {
      while (this.#sender.hasChanges && this.#outbox.isWritable) {
        const batch = this.#sender.pollBatch();
        if (batch === undefined) break;
        this.#outbox.push(batch);
        last = batch.id;
      }
      if (this.#sender.hasChanges) this.#state.counters.flushesHeldBack += 1;
      else this.#outbox.releaseOrdered();
    }
    this.#tellDenials();
    this.#wake();
    return last;
  }

  /** Sends an event with the next flush, behind its state: to one peer (holder of authority only), or to all that may receive it. */
  sendEvent(
    name: string,
    values: ComponentValues,
    options: { readonly to?: number } = {},
  ): boolean {
    if (!this.isJoined) return false;
    return this.#signals.sendEvent(name, values, options.to ?? ALL_PEERS);
  }

  /** Sends one Opus frame of an own entity at once. */
  sendVoice(handle: Handle, frame: Uint8Array): boolean {
    if (!this.isJoined) return false;
    const isSent = this.#signals.sendVoice(handle, frame);
    if (isSent) this.#wake();
    return isSent;
  }

  /** Opens a channel: a client to the server's engine, the holder of authority to one peer. */
  openChannel(name: string, options: { readonly peer?: number } = {}): Channel | undefined {
    if (!this.isJoined) return undefined;
    const channel = this.#channels.open(name, options.peer ?? SERVER_PEER);
    this.#wake();
    return channel;
  }

  /** Gives a peer another role. Holder of authority only. */
  setRole(peer: number, roleName: string): boolean {
    const role = this.#state.grants.roles.find((one) => one.name === roleName);
    if (!this.#mayCommand(peer)) return false;
    if (role === undefined) return this.#state.deny("peer", Rule.Undeclared, { peer });
    this.#roster.assign(peer, role.index);
    return this.#command({ kind: "setRole", peer, roleId: role.id });
  }

  /** Gives an entity to a peer. Holder of authority only. */
  transfer(handle: Handle, peer: number): boolean {
    const record = this.#state.ledger.get(handle);
    if (record === undefined) return this.#state.deny("component", Rule.EntityUnknown, { handle });
    if (!this.#mayCommand(peer)) return false;
    if (!this.#command({ kind: "transfer", handle, peer })) return false;
    record.owner = peer;
    return true;
  }

  /** Removes a peer from the world. Holder of authority only. */
  kick(peer: number, reason: string): boolean {
    return this.#mayCommand(peer) &&
      this.#command({ kind: "kick", peer, reason: clampText(reason) });
  }

  /** Asks the driver for the hash of each entity's quantised state, as of the next flush. Rejects when the driver is lost. */
  stateHash(): Promise<ReadonlyMap<Handle, number>> {
    if (!this.isJoined) return Promise.reject(new Error("no driver has joined"));
    return this.#signals.askHashes();
  }

  /** Where the next driver shall connect; the present one is told only when it is a new one. */
  setConnect(order: ConnectOrder | undefined): void {
    this.#connect = order;
  }

  /** Says goodbye to the driver and takes no other. */
  close(reason = "the engine is closing"): void | Promise<void> {
    this.#isClosed = true;
    if (this.#session !== undefined) this.#end(CloseCode.Normal, reason);
  }

  // ---- what the owner of the socket calls

  /** True when the connection shall be closed as soon as `pollBytes` gives nothing more. */
  get wantsClose(): boolean {
    return this.#session?.stage === "closing";
  }

  /** A driver connected. False when there is one already: write `refusalFrame` and close. */
  handleConnected(): boolean {
    if (this.#session !== undefined || this.#isClosed) {
      this.#state.counters.driversRefused += 1;
      this.onDriverRefused?.("a second driver connected while one was there");
      return false;
    }
    this.#session = new DriverSession(this.#state.nowMs);
    return true;
  }

  /** What a connection that was not taken is told before it is closed. */
  static refusalFrame(): Uint8Array {
    const reason =
      "the engine has a driver already: end that one first, or use another engine socket";
    return encodeFrame(encodeToDriver({ kind: "goodbye", code: CloseCode.Full, reason }));
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
    if (this.#outbox.isOverfull) this.#end(CloseCode.Overloaded, "the driver does not read");
    this.#tellDenials();
    this.#wake();
  }

  /** The connection is over, whoever ended it. */
  handleClosed(): void {
    if (this.#session === undefined) return;
    if (this.#session.stage !== "closing") this.#lose("the connection ended");
    this.#session = undefined;
    this.#outbox.clear();
  }

  /** Time has passed: heartbeats, hung drivers, entities that nobody confirmed. */
  handleTimer(): void {
    const { nowMs } = this.#state;
    const session = this.#session;
    if (session !== undefined && session.stage !== "closing") {
      if (session.isHung(nowMs)) this.#end(CloseCode.Silence, "nothing was heard for too long");
      else if (session.stage !== "greeting" && session.isPingDue(nowMs)) {
        if (this.#outbox.isWritable) this.#outbox.push({ kind: "ping", time: nowMs });
      }
    }
    if (nowMs >= this.#confirmByMs) {
      this.#confirmByMs = Infinity;
      this.#dropUnconfirmed();
    }
    this.#tellDenials();
    this.#wake();
  }

  /** Bytes to write now; `undefined` while a write is under way, or when there are none. */
  pollBytes(): Uint8Array | undefined {
    if (this.#session === undefined) return undefined;
    if (this.isJoined) this.#channels.pump();
    return this.#outbox.pollBytes();
  }

  /** The bytes of the last `pollBytes` have been written. */
  handleWritten(): void {
    this.#outbox.handleWritten();
  }

  // ---- what the driver says

  #handle(session: DriverSession, message: ToEngine): void {
    if (message.kind === "goodbye") {
      this.#end(undefined, `the driver said goodbye: ${message.reason}`);
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
    } else this.#dispatch(message);
  }

  #handleHello(session: DriverSession, hello: From<"hello">): void {
    const reason = checkHello(hello, this.#state.grants, this.#state.role);
    if (reason !== undefined) {
      this.#state.counters.driversRefused += 1;
      this.#end(Fault.Incompatible, reason);
      this.onDriverRefused?.(reason);
      return;
    }
    const table: number[] = [];
    for (const { handle, id } of this.#state.ledger.records()) if (id !== 0) table.push(handle, id);
    for (const [handle, id] of this.#sender.graves()) if (id !== 0) table.push(handle, id);
    session.stage = "welcomed";
    this.#outbox.push({
      kind: "welcome",
      linkVersion: ENGINE_LINK_VERSION,
      schemaHash: this.#state.grants.schemaHash,
      connect: this.#connect,
      resume: this.#resume,
      entities: Uint32Array.from(table),
    });
    this.onDriverReady?.(hello);
    if (this.#hasLostDriver) this.onDriverBack?.();
  }

  #handleJoined(session: DriverSession, message: From<"joined">): void {
    const state = this.#state;
    const roleIndex = state.roleIndexOf(message.roleId);
    const isFit = state.isAuthority
      ? message.peer === SERVER_PEER && roleIndex === state.roleIndex
      : message.peer !== SERVER_PEER && message.peer !== ALL_PEERS && roleIndex !== undefined &&
        roleIndex !== 0;
    if (!isFit || roleIndex === undefined) return this.#fail(Fault.OutOfRange, "joined");
    const isFirstOfDriver = session.stage !== "joined";
    if (this.#hasJoined && !message.resumed) this.#forgetOthers();
    const before = state.peer;
    state.peer = message.peer;
    state.roleIndex = roleIndex;
    for (const record of state.ledger.records()) {
      if (record.owner === before) record.owner = message.peer;
    }
    // A driver that resumed still holds what it was told; any other has to hear it again.
    if (isFirstOfDriver || !message.resumed) this.#sender.resync();
    if (isFirstOfDriver && this.#hasLostDriver) {
      this.#confirmByMs = state.nowMs +
        (state.isAuthority ? state.grants.resumeMs : RESYNC_CONFIRM_MS);
    }
    this.#resume = message.resume.slice();
    this.#hasJoined = true;
    session.stage = "joined";
    this.onJoined?.({
      peer: message.peer,
      role: this.roleName,
      resumed: message.resumed,
      timeline: message.timeline,
      listen: message.listen,
    });
    if (this.isJoined) this.flush();
  }

  #dispatch(message: Exclude<ToEngine, From<"hello" | "joined" | "ping" | "pong" | "goodbye">>) {
    switch (message.kind) {
      case "batch":
        return this.#receiver.apply(message);
      case "named":
        return this.#handleNamed(message.pairs);
      case "stamped":
        this.#sender.handleStamped(message.id);
        return this.onStamped?.(message.id, message.time);
      case "spawnRefused":
        return this.#handleSpawnRefused(message);
      case "peerJoin":
      case "roleChanged":
        return this.#handleRole(message);
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
        return this.onLeft?.(message.code, message.reason, message.final);
      case "denied":
        // Only this engine's own gate speaks for the door "engine".
        return this.onDenied?.(
          message.denial.door === "engine" ? { ...message.denial, door: "driver" } : message.denial,
        );
      case "stats":
        return this.onStats?.(message.values);
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
    this.#sender.forget(record);
    this.#state.world.destroy(handle);
    this.onSpawnRefused?.(handle, rule);
  }

  #handleRole(message: From<"peerJoin" | "roleChanged">): void {
    const roleIndex = this.#state.roleIndexOf(message.roleId);
    if (roleIndex === undefined) this.#fail(Fault.UnknownId, message.kind);
    else if (message.kind === "peerJoin") this.#roster.handleJoin(message.peer, roleIndex);
    else this.#roster.handleRole(message.peer, roleIndex);
  }

  // ---- ends

  /** Ends the session after a frame that no correct driver sends. */
  #fail(fault: Fault, what: string): void {
    this.#state.counters.faultyFrames += 1;
    this.#end(fault, `${faultName(fault)} in ${what} from the driver`);
  }

  /** Ends the session: with a goodbye when there is a code. */
  #end(code: number | undefined, reason: string): void {
    const session = this.#session;
    if (session === undefined || session.stage === "closing") return;
    const wasReady = session.stage !== "greeting";
    if (code !== undefined) {
      this.#outbox.push({ kind: "goodbye", code, reason: clampText(reason) });
    }
    session.stage = "closing";
    if (wasReady) this.#lose(reason);
    this.#wake();
  }

  #lose(reason: string): void {
    this.#hasLostDriver = true;
    this.#confirmByMs = Infinity;
    this.#state.counters.driversLost += 1;
    this.#sender.handleDriverLost();
    this.#roster.handleDriverLost();
    this.#signals.handleDriverLost();
    this.#channels.handleDriverLost();
    this.onDriverLost?.(reason);
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

  // ---- helpers

  #mayCommand(peer: number): boolean {
    const state = this.#state;
    if (!state.isAuthority) return state.deny("peer", Rule.Role, { peer });
    if (peer === SERVER_PEER || state.peers.has(peer)) return true;
    return state.deny("peer", Rule.Peer, { peer });
  }

  /** Queues a command behind the state of its moment. */
  #command(message: ToDriver): boolean {
    if (this.isJoined && this.#outbox.pushOrdered(message)) return true;
    this.#state.counters.commandsDropped += 1;
    return false;
  }

  #tellDenials(): void {
    const { denials, nowMs } = this.#state;
    for (let report = denials.poll(nowMs); report !== undefined; report = denials.poll(nowMs)) {
      this.onDenied?.(report);
    }
  }
}

/** What a driver may say between welcome and joined. */
function isEarly(message: ToEngine): boolean {
  return message.kind === "left" || message.kind === "stats" || message.kind === "denied";
}
