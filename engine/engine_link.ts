// The engine's end of the link, whole but for the socket: what game code and the owner of the socket call. The conversation with the driver
// and the doors (state, signals, channels) have files of their own; bytes go in and out as arguments, time is a function given at birth.

import { CloseCode } from "../protocol/close_codes.ts";
import { clampText, encodeToDriver } from "../protocol/engine_codec.ts";
import {
  ALL_PEERS,
  type ConnectOrder,
  type Handle,
  SERVER_PEER,
  type ToDriver,
} from "../protocol/engine_messages.ts";
import { encodeFrame } from "../protocol/frame_buffer.ts";
import type { Adjustment } from "../permissions/adjustments.ts";
import type { Grants } from "../permissions/grants.ts";
import { Rule } from "../permissions/rule.ts";
import { CallbackGuard } from "./callback_guard.ts";
import type { Channel } from "./channel.ts";
import { ChannelTable } from "./channels.ts";
import { DriverDialogue } from "./driver_dialogue.ts";
import type { IdentityTools } from "./identity_check.ts";
import { JoinSigner } from "./join_signer.ts";
import { EngineCallbacks } from "./link_events.ts";
import { LinkOutbox } from "./link_outbox.ts";
import { type LinkCounters, type LinkRole, LinkState } from "./link_state.ts";
import { type LogPage, type LogQuery, LogReader } from "./log_reader.ts";
import { NonceKeeper } from "./nonce_keeper.ts";
import { type FieldRights, PeerGrants } from "./peer_grants.ts";
import { RevokedFields } from "./revoked_fields.ts";
import { PeerRoster } from "./roster.ts";
import { Signals } from "./signals.ts";
import { StateReceiver } from "./state_receiver.ts";
import { StatePacker } from "./state_packer.ts";
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
  /** What the holder of authority checks join tokens with; left out, peers have the default role until game code gives another. */
  readonly identityTools?: IdentityTools | undefined;
  /**
   * What `usedNonces` of an earlier engine of this world gave, so that join tokens used before this engine began stay used. Records of 20
   * bytes; any other length is a `RangeError`.
   */
  readonly nonces?: Uint8Array | undefined;
  /** Called when there may be bytes to write, or the connection to close. */
  readonly wake?: (() => void) | undefined;
}

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
 * A lost driver, or a lost connection: the world goes on. The next driver is given the table of handles and network ids and the resume
 * ticket, and after each `joined` every entity of this engine goes out whole in the first batch. Entities of others stay until they are
 * announced again under the same handle; those that are not, in time, are despawned (`RESYNC_CONFIRM_MS` on a client, the world's resume
 * time on the holder of authority, whose peers may take that long to come back). When `joined` says that nothing was resumed, entities
 * of others are despawned at once: their ids belong to a life that is over. So does what others gave to this engine's own entities: a
 * client's keep what its role may write.
 */
export class EngineLink extends EngineCallbacks {
  readonly #state: LinkState;
  readonly #outbox = new LinkOutbox();
  readonly #packer: StatePacker;
  readonly #sender: StateSender;
  readonly #receiver: StateReceiver;
  readonly #signals: Signals;
  readonly #channels: ChannelTable;
  readonly #roster: PeerRoster;
  readonly #peerGrants: PeerGrants;
  readonly #logs: LogReader;
  readonly #dialogue: DriverDialogue;
  readonly #nonces: NonceKeeper;
  readonly #guard = new CallbackGuard(this);
  readonly #wake: () => void;
  #isClosed = false;

  /** Makes a link without a driver; game code can begin at once. */
  constructor(options: EngineLinkOptions) {
    super();
    Object.assign(this, options.callbacks);
    const tell = this.#guard.callbacks;
    this.#state = new LinkState(options.grants, options.role, options.world, options.now);
    this.#nonces = new NonceKeeper(options.nonces);
    this.#wake = options.wake ?? (() => {});
    this.#packer = new StatePacker(
      this.#state,
      (record, rule) => tell.onSpawnRefused?.(record.handle, rule),
    );
    this.#sender = new StateSender(this.#state, this.#packer);
    const revokedFields = new RevokedFields(
      this.#state,
      (handle, name, fields) => tell.onRevoke?.(handle, name, fields),
    );
    this.#receiver = new StateReceiver(this.#state, this.#packer, revokedFields, {
      spawned: (handle, owner) => tell.onSpawn?.(handle, owner),
      despawned: (handle) => tell.onDespawn?.(handle),
      changed: (handle, name, values, at) => tell.onRemoteChange?.(handle, name, values, at),
      removed: (handle, name) => tell.onRemoteRemove?.(handle, name),
      hidden: (handle, name) => tell.onHide?.(handle, name),
      ownerChanged: (handle, owner, epoch) => tell.onOwnerChange?.(handle, owner, epoch),
    });
    this.#signals = new Signals(this.#state, this.#outbox, this.#packer, tell);
    this.#channels = new ChannelTable(this.#state, this.#outbox, this.#guard);
    this.#roster = new PeerRoster(
      this.#state,
      revokedFields,
      tell,
      this.#state.isAuthority && options.identityTools !== undefined &&
        !options.grants.identity.anonymous,
    );
    this.#peerGrants = new PeerGrants(
      this.#state,
      (peer) => this.#mayCommand(peer),
      (order) => this.#command(order),
    );
    this.#logs = new LogReader(this.#state, this.#outbox);
    this.#dialogue = new DriverDialogue({
      state: this.#state,
      outbox: this.#outbox,
      packer: this.#packer,
      receiver: this.#receiver,
      signals: this.#signals,
      channels: this.#channels,
      roster: this.#roster,
      logs: this.#logs,
      signer: new JoinSigner(this.#state, this.#outbox, tell, this.#wake),
      nonces: this.#nonces,
      identityTools: options.identityTools,
      revoked: revokedFields,
      callbacks: tell,
      flush: () => void this.#flush(),
    });
    this.#dialogue.connect = options.connect;
  }

  // ---- what game code asks

  /** A driver is connected and has joined: what is flushed goes out. */
  get isJoined(): boolean {
    return this.#dialogue.isJoined;
  }

  /** This engine's peer id; `undefined` until a client has joined. */
  get peer(): number | undefined {
    return this.#state.isAuthority || this.#dialogue.hasJoined ? this.#state.peer : undefined;
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
    LinkCounters & {
      denials: number;
      entities: number;
      backlogBytes: number;
      callbackErrors: number;
      channels: number;
      gatheredBytes: number;
    }
  > {
    return {
      ...this.#state.counters,
      callbackErrors: this.#guard.failures,
      channels: this.#channels.size,
      gatheredBytes: this.#channels.heldBytes,
      denials: this.#state.denials.total,
      entities: this.#state.ledger.size,
      backlogBytes: this.#outbox.backlogBytes,
    };
  }

  /**
   * The join tokens used in this world, as records of 20 bytes (no token can be made of them): 16 of a hash, 4 of the second from which no
   * server takes the token. The holder of authority keeps them where it keeps its world, and gives them to its next `EngineLink`, or a token
   * is good once for each life of the engine. They change with each peer that joins with a token.
   */
  get usedNonces(): Uint8Array<ArrayBuffer> {
    return this.#nonces.records();
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

  /** Name of the zone that an entity is in; `undefined` for none, and on all but the holder of authority. */
  zoneOf(handle: Handle): string | undefined {
    const { ledger, grants } = this.#state;
    const zone = ledger.get(handle)?.zone;
    return grants.zones.find((one) => one.id === zone)?.name;
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
   * another owner, and the zone in which the entity is from its first moment on. What a peer spawns begins in the zone where the peer stands.
   *
   * @returns its handle, or 0 when it is denied.
   * @throws RangeError for a zone that is not declared.
   */
  spawn(
    components: Components,
    options: { readonly owner?: number; readonly zone?: string } = {},
  ): Handle {
    return this.#sender.spawn(components, options.owner, options.zone);
  }

  /**
   * Puts an entity, whoever owns it, into a zone of the manifest, or with `undefined` into none. Holder of authority only. It goes with the
   * next flush and counts from the next tick on. A peer stands in the zone of its viewpoint: of its first entity with a position, as long as
   * it has one, else of any entity that it owns.
   *
   * @returns false, denied and counted, where this engine is not the holder of authority or there is no such entity.
   * @throws RangeError for a zone that is not declared.
   */
  setZone(handle: Handle, zone: string | undefined): boolean {
    return this.#sender.setZone(handle, zone);
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
    const last = this.#flush();
    this.#guard.settle();
    return last;
  }

  #flush(): number {
    this.#sender.collectChanges();
    let last = 0;
    if (this.isJoined) {
      while (this.#packer.hasChanges && this.#outbox.isWritable) {
        const batch = this.#packer.pollBatch();
        if (batch === undefined) break;
        this.#outbox.push(batch);
        last = batch.id;
      }
      const pairs = this.#packer.takeWanted();
      if (pairs.length > 0) this.#outbox.push({ kind: "resend", pairs });
      if (this.#packer.hasChanges) this.#state.counters.flushesHeldBack += 1;
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

  /**
   * Grants fields of a component to one peer, on top of its role and of what it was granted before, for as long as it has its place; `write`
   * only of its own entities. Holder of authority only.
   *
   * The manifest's `grantable` of the component bounds it. Takes effect with the next datagram built after the driver has it.
   *
   * @returns false, denied or counted, where this engine may not command, the peer is not there, or no driver has joined.
   * @throws RangeError for a component or field that is not declared, or that the manifest does not let be granted.
   */
  grant(peer: number, component: string, fields: FieldRights): boolean {
    return this.#peerGrants.grant(peer, component, fields);
  }

  /**
   * Revokes fields of a component from one peer, whatever its role: what it holds of them is erased, and its game code told by `onRevoke`. A
   * field that it may still write as an owner it goes on knowing. Otherwise as {@linkcode EngineLink.grant}; any field can be revoked.
   */
  revoke(peer: number, component: string, fields: FieldRights): boolean {
    return this.#peerGrants.revoke(peer, component, fields);
  }

  /** Leaves a component to the peer's role again: what was granted and revoked of it counts no more. Otherwise as {@linkcode EngineLink.grant}. */
  restore(peer: number, component: string): boolean {
    return this.#peerGrants.restore(peer, component);
  }

  /**
   * What a peer was granted and what was revoked from it of a component, as masks of fields: on the holder of authority of every peer, on
   * others of this engine's own peer alone.
   *
   * @throws RangeError for a component that is not declared.
   */
  adjustmentOf(peer: number, component: string): Adjustment {
    return this.#peerGrants.of(peer, component);
  }

  /** Gives an entity to a peer. Holder of authority only. */
  transfer(handle: Handle, peer: number): boolean {
    const record = this.#state.ledger.get(handle);
    if (record === undefined) return this.#state.deny("component", Rule.EntityUnknown, { handle });
    if (!this.#mayCommand(peer)) return false;
    if (!this.#command({ kind: "transfer", handle, peer })) return false;
    this.#state.orders.note(record, peer);
    record.formerOwner = record.owner;
    record.owner = peer;
    return true;
  }

  /**
   * Removes a peer from the world, with what it owns: as soon as the driver has done that, and after `ENGINE_TIMEOUT_MS` whatever the driver
   * says. Holder of authority only.
   */
  kick(peer: number, reason: string): boolean {
    const isSent = this.#mayCommand(peer) &&
      this.#command({ kind: "kick", peer, reason: clampText(reason) });
    if (isSent) this.#roster.kick(peer);
    return isSent;
  }

  /** Asks the driver for the hash of each entity's quantised state, as of the next flush. Rejects when the driver is lost. */
  stateHash(): Promise<ReadonlyMap<Handle, number>> {
    if (!this.isJoined) return Promise.reject(new Error("no driver has joined"));
    return this.#signals.askHashes();
  }

  /**
   * Reads the driver's log, which lives in the driver's memory for as long as its manifest says. Also before a client has joined. Rejects
   * when no driver is there or it is lost.
   */
  readLog(query: LogQuery = {}): Promise<LogPage> {
    if (!this.#dialogue.isWelcomed) return Promise.reject(new Error("no driver is there"));
    const page = this.#logs.ask(query);
    this.#wake();
    return page;
  }

  /** Where the next driver shall connect; the present one is told only when it is a new one. */
  setConnect(order: ConnectOrder | undefined): void {
    this.#dialogue.connect = order;
  }

  /** Says goodbye to the driver and takes no other. */
  close(reason = "the engine is closing"): void | Promise<void> {
    this.#isClosed = true;
    this.#dialogue.end(CloseCode.Normal, reason);
    this.#wake();
    this.#guard.settle();
  }

  // ---- what the owner of the socket calls

  /** True when the connection shall be closed as soon as `pollBytes` gives nothing more. */
  get wantsClose(): boolean {
    return this.#dialogue.wantsClose;
  }

  /** A driver connected. False when there is one already: write `refusalFrame` and close. */
  handleConnected(): boolean {
    if (this.#dialogue.isConnected || this.#isClosed) {
      this.#state.counters.driversRefused += 1;
      this.#guard.callbacks.onDriverRefused?.("a second driver connected while one was there");
      this.#guard.settle();
      return false;
    }
    this.#dialogue.handleConnected();
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
    this.#dialogue.handleBytes(chunk);
    this.#tellDenials();
    this.#wake();
    this.#guard.settle();
  }

  /** The connection is over, whoever ended it. */
  handleClosed(): void {
    this.#dialogue.handleClosed();
    this.#guard.settle();
  }

  /** Time has passed. */
  handleTimer(): void {
    this.#dialogue.handleTimer();
    this.#channels.handleTimer();
    this.#roster.handleTimer((peer) => this.#receiver.dropOwned(peer));
    this.#tellDenials();
    this.#wake();
    this.#guard.settle();
  }

  /** Bytes to write now; `undefined` while a write is under way, or when there are none. */
  pollBytes(): Uint8Array | undefined {
    if (!this.#dialogue.isConnected) return undefined;
    if (this.isJoined) this.#channels.pump();
    return this.#outbox.pollBytes();
  }

  /** The bytes of the last `pollBytes` have been written. */
  handleWritten(): void {
    this.#outbox.handleWritten();
    this.#guard.settle();
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
      this.#guard.callbacks.onDenied?.(report);
    }
  }
}
