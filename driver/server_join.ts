// How peers come and go on a server: connections that have not joined, the join itself, resuming a place, leaving it, losing it. What joined
// peers say afterwards goes to the core.

import { assert } from "../protocol/assert.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { ControlFrames } from "../protocol/control_frames.ts";
import {
  type ControlMessage,
  decodeControl,
  type JoinMessage,
  type ProofMessage,
} from "../protocol/control_messages.ts";
import { SERVER_PEER } from "../protocol/engine_messages.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import {
  CHALLENGE_BYTES,
  JOIN_TIMEOUT_MS,
  MAX_HALF_JOINED,
  PROTOCOL_VERSION,
  RESUME_SECRET_BYTES,
  WORK_CONTROL,
} from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { Adjustments } from "../permissions/adjustments.ts";
import { JoinAttempt, type JoinStage } from "../session/join_attempt.ts";
import type { CloseInfo, Connection, Stream } from "../transport/connection.ts";
import { toHex } from "./hex.ts";
import { whoYields } from "./join_places.ts";
import { openServerLink, type Place } from "./server_link.ts";
import { adjustmentsOf } from "./server_rights.ts";
import { type HalfJoined, type ServerPeer, tellStranger } from "./server_peer.ts";
import type { LostPeer, ServerState } from "./server_state.ts";
import { TokenDoor } from "./token_door.ts";

/** What joined peers do, for the core. */
export interface JoinEvents {
  /** A datagram. */
  datagram(peer: ServerPeer, bytes: Uint8Array): void;
  /** A control message that is not about coming or going. */
  control(peer: ServerPeer, message: ControlMessage, nowMs: number): void;
  /** A stream that is not the control stream. */
  stream(peer: ServerPeer, stream: Stream): void;
  /** The peer's connection is over. */
  detached(peer: ServerPeer): void;
}

/** The door of a server. */
export class ServerJoin {
  readonly #state: ServerState;
  readonly #events: JoinEvents;
  readonly #tokens: TokenDoor;
  readonly #halfJoined = new Set<HalfJoined>();
  /** Joined ones whose control streams are paused, because they have used up their allowance of work. */
  readonly #held = new Set<HalfJoined>();
  #isClosed = false;

  /** A door that is open. */
  constructor(state: ServerState, events: JoinEvents) {
    this.#state = state;
    this.#events = events;
    this.#tokens = new TokenDoor(state);
  }

  /** Connections that have not joined. */
  get waitingCount(): number {
    return this.#halfJoined.size;
  }

  /** Somebody connected. */
  handleConnection(connection: Connection, nowMs: number): void {
    const { counters } = this.#state;
    const mustYield = !this.#isClosed && this.#halfJoined.size >= MAX_HALF_JOINED;
    if (this.#isClosed || (mustYield && !this.#makeRoom(nowMs))) {
      counters.add("join.refusedConnections");
      const code = this.#isClosed ? CloseCode.GoingAway : CloseCode.Full;
      this.#state.log.write(LogCode.ConnectionRefused, nowMs, code, this.#halfJoined.size);
      // Nothing came in yet, so nothing but the code goes out.
      connection.close(this.#isClosed ? CloseCode.GoingAway : CloseCode.Full, "");
      return;
    }
    const half: HalfJoined = {
      connection,
      frames: new ControlFrames(),
      control: undefined,
      attempt: new JoinAttempt(nowMs + JOIN_TIMEOUT_MS),
      sinceMs: nowMs,
      isOver: false,
      peer: undefined,
    };
    this.#halfJoined.add(half);
    this.#state.log.write(LogCode.Connected, nowMs, this.#halfJoined.size);
    connection.start({
      handleDatagram: (bytes) => this.#handleDatagram(half, bytes),
      handleStream: (stream) => this.#handleStream(half, stream),
      handleClosed: (info) => this.#handleClosed(half, info),
    });
  }

  /** Ends the connection that has kept others waiting longest, so that silent ones keep nobody out; false when none may be ended. */
  #makeRoom(nowMs: number): boolean {
    const victim = whoYields(this.#halfJoined, nowMs);
    if (victim === undefined) return false;
    this.#halfJoined.delete(victim);
    this.#state.counters.add("join.displaced");
    this.#state.log.write(LogCode.JoinRefused, nowMs, CloseCode.Full);
    this.#end(victim, CloseCode.Full, "");
    return true;
  }

  /** Time has passed: joins that take too long end, and so do places that nobody took up again. */
  handleTick(nowMs: number): void {
    const { resume, lost } = this.#state;
    for (;;) {
      const peerId = resume.pollExpired(nowMs);
      if (peerId === undefined) break;
      const place = lost.get(peerId);
      lost.delete(peerId);
      if (place !== undefined) {
        this.#forget(peerId, place.freeIds, CloseCode.Silence, "timed out", nowMs);
      }
    }
    for (const half of this.#halfJoined) {
      if (half.attempt.deadlineMs <= nowMs && !half.isOver) {
        this.#refuse(half, CloseCode.JoinTimeout, "no join message in time");
      }
    }
  }

  /** The peer has earned work again: its control stream goes on. */
  goOn(peer: ServerPeer): void {
    for (const half of this.#held) {
      if (half.peer !== peer || peer.work.isSpent) continue;
      this.#held.delete(half);
      half.control!.pause(false);
      this.#readControl(half, this.#state.nowMs);
    }
  }

  /** Removes a peer for good, connected or lost. */
  kick(peerId: number, reason: string, nowMs: number): void {
    const { peers, lost } = this.#state;
    const peer = peers.get(peerId);
    const place = lost.get(peerId);
    if (peer !== undefined) {
      peer.tell({ kind: "bye", code: CloseCode.Kicked, reason });
      peer.connection.close(CloseCode.Kicked, reason);
      this.#remove(peer, CloseCode.Kicked, "kicked", nowMs);
    } else if (place !== undefined) {
      lost.delete(peerId);
      this.#forget(peerId, place.freeIds, CloseCode.Kicked, "kicked", nowMs);
    }
  }

  /** Says goodbye to everyone and lets nobody in. */
  close(reason: string): void {
    this.#isClosed = true;
    const { peers } = this.#state;
    for (const peer of peers.values()) {
      peer.tell({ kind: "bye", code: CloseCode.GoingAway, reason });
      peer.connection.close(CloseCode.GoingAway, reason);
    }
    peers.clear();
    for (const half of this.#halfJoined) this.#end(half, CloseCode.GoingAway, reason);
    this.#halfJoined.clear();
  }

  #handleDatagram(half: HalfJoined, bytes: Uint8Array): void {
    if (half.peer === undefined) return this.#state.counters.add("net.datagramsBeforeJoin");
    this.#noteSecret(half.peer);
    this.#events.datagram(half.peer, bytes);
  }

  #handleStream(half: HalfJoined, stream: Stream): void {
    if (half.control === undefined) {
      half.control = stream;
      stream.setHandler({
        handleData: (bytes) => this.#handleControlBytes(half, bytes),
        handleEnd: () => this.#end(half, CloseCode.Normal, "control stream ended"),
        handleReset: () => this.#end(half, Fault.Unexpected, "control stream reset"),
        handleWritable: () => {},
      });
    } else if (half.peer === undefined) {
      stream.reset(Fault.Unexpected);
      this.#refuse(half, Fault.Unexpected, "a stream before joining");
    } else {
      this.#events.stream(half.peer, stream);
    }
  }

  #handleControlBytes(half: HalfJoined, bytes: Uint8Array): void {
    const { nowMs } = this.#state;
    if (half.isOver) return;
    if (half.peer === undefined && !half.attempt.handleBytes(bytes.length)) {
      this.#refuse(half, Fault.OutOfRange, "more bytes than a join has");
      return this.#state.environment.wake();
    }
    half.frames.handleBytes(bytes);
    this.#readControl(half, nowMs);
  }

  /** Takes the messages that have come, as far as the peer's allowance of work reaches. */
  #readControl(half: HalfJoined, nowMs: number): void {
    while (!half.isOver) {
      if (half.peer?.work.isSpent === true) {
        half.peer.work.noteOver();
        half.control!.pause(true);
        this.#held.add(half);
        return;
      }
      const frame = half.frames.pollFrame();
      if (frame === undefined) break;
      const result = decodeControl(frame, "toAuthority");
      half.peer?.work.spend(WORK_CONTROL);
      if (result.ok) this.#handleControl(half, result.message, nowMs);
      else this.#refuse(half, result.fault, faultName(result.fault));
    }
    const { fault } = half.frames;
    if (fault !== undefined && !half.isOver) this.#refuse(half, fault, faultName(fault));
    this.#state.environment.wake();
  }

  #handleControl(half: HalfJoined, message: ControlMessage, nowMs: number): void {
    const { peer } = half;
    if (peer !== undefined) this.#noteSecret(peer);
    if (peer === undefined) {
      const { stage } = half.attempt;
      if (message.kind !== stage) this.#refuse(half, Fault.Unexpected, EXPECTED[stage]);
      else if (message.kind === "join") this.#join(half, message, nowMs);
      else if (message.kind === "proof") this.#prove(half, message);
    } else if (message.kind === "bye") {
      this.#end(half, CloseCode.Normal, "bye");
      // A peer's own words about its leaving are passed on to nobody: nothing says that there are no contents in them.
      this.#remove(peer, CloseCode.Normal, "left", nowMs);
    } else if (message.kind === "join" || message.kind === "proof") {
      this.#refuse(half, Fault.Unexpected, "joined already");
    } else {
      this.#events.control(peer, message, nowMs);
    }
  }

  /** Nobody speaks before the answer to its join; so whoever speaks after it has got it, and the secret in it. */
  #noteSecret(peer: ServerPeer): void {
    if (peer.hasSecret) return;
    peer.hasSecret = true;
    if (this.#state.peers.get(peer.peer) === peer) this.#state.resume.handleProof(peer.peer);
  }

  #end(half: HalfJoined, code: number, reason: string): void {
    half.isOver = true;
    const isTold = half.peer !== undefined || reason.length <= half.attempt.room;
    half.connection.close(code, isTold ? reason : "");
  }

  #refuse(half: HalfJoined, code: number, reason: string): void {
    const { counters, log, nowMs } = this.#state;
    counters.add(half.peer === undefined ? "join.refused" : `fault.${faultName(code)}`);
    if (half.peer === undefined) log.write(LogCode.JoinRefused, nowMs, code);
    else log.write(LogCode.Faulty, nowMs, half.peer.peer, code);
    if (half.peer === undefined && !tellStranger(half, { kind: "refused", code, reason })) {
      tellStranger(half, { kind: "refused", code, reason: "" });
    }
    this.#end(half, code, reason);
  }

  #join(half: HalfJoined, message: JoinMessage, nowMs: number): void {
    const { grants } = this.#state;
    if (message.protocolVersion !== PROTOCOL_VERSION) {
      const reason = `this server speaks protocol ${PROTOCOL_VERSION}`;
      return this.#refuse(half, Fault.Incompatible, reason);
    }
    if (toHex(message.schemaHash) !== grants.schemaHash) {
      const reason = "the world part of the manifests differs: both sides need the same one";
      return this.#refuse(half, Fault.Incompatible, reason);
    }
    if (this.#state.outbox.isCrowded) {
      // Strangers that come and go must not end a driver whose engine is slow for a moment.
      return this.#refuse(half, CloseCode.Overloaded, "the server is busy: try again soon");
    }
    const { resume } = message;
    if (resume === undefined) return this.#joinAnew(half, message.credential, nowMs);
    const claim = this.#state.resume.redeem(resume.peer, resume.secret, nowMs);
    if (claim.outcome !== "ok") {
      this.#state.counters.add("join.resumeRefused");
      this.#state.log.write(LogCode.ResumeRefused, nowMs, resume.peer);
      const reason = "the resume secret is not valid: join anew";
      return this.#refuse(half, CloseCode.Credential, reason);
    }
    const place = this.#takePlace(resume.peer);
    this.#state.roster.setConnected(resume.peer, true);
    this.#admit(half, resume.peer, place, claim.next, nowMs);
  }

  #joinAnew(half: HalfJoined, credential: JoinMessage["credential"], nowMs: number): void {
    const { identity, defaultRole } = this.#state.grants;
    if (credential === "none") {
      if (identity.anonymous) return this.#admitNew(half, defaultRole, nowMs);
      return this.#refuse(half, CloseCode.Credential, "this world wants a join token");
    }
    if (identity.issuers.length === 0) {
      return this.#refuse(half, CloseCode.Credential, "this world takes no join token");
    }
    const challenge = this.#state.environment.randomBytes(CHALLENGE_BYTES);
    half.attempt.challenge(challenge);
    const isSent = tellStranger(half, { kind: "challenge", challenge });
    assert(isSent, "a join is longer than a challenge");
  }

  /** Judges a token and the proof beside it; the answer may come later, and the connection may be over by then. */
  #prove(half: HalfJoined, message: ProofMessage): void {
    const challenge = half.attempt.takeChallenge();
    const pin = half.connection.channelBinding;
    this.#tokens.judge(message, challenge, pin, () => !half.isOver, (verdict) => {
      if (!verdict.isGood) this.#refuse(half, verdict.code, verdict.reason);
      else this.#admitNew(half, verdict.role, this.#state.nowMs, verdict.introduce);
    });
  }

  /** Gives a new place; `introduce` is called before the engine hears of the peer. */
  #admitNew(
    half: HalfJoined,
    role: number,
    nowMs: number,
    introduce: (peer: number) => void = () => {},
  ): void {
    const { roster } = this.#state;
    let entry = roster.add(role, nowMs);
    if (entry === undefined && this.#giveUpEmptyPlace(nowMs)) entry = roster.add(role, nowMs);
    if (entry === undefined) return this.#refuse(half, CloseCode.Full, "the world is full");
    introduce(entry.peer);
    const place = {
      role,
      adjusted: new Adjustments(),
      freeIds: new Set<EntityId>(),
      sender: undefined,
    };
    this.#admit(half, entry.peer, place, undefined, nowMs);
  }

  /** Gives up the place that was lost longest and has nothing in the world: who is here now comes before who left no trace. */
  #giveUpEmptyPlace(nowMs: number): boolean {
    const { lost, world } = this.#state;
    for (const [peerId, place] of lost) {
      if (world.countOwned(peerId) > 0) continue;
      lost.delete(peerId);
      this.#forget(peerId, place.freeIds, CloseCode.Full, "its place was needed", nowMs);
      return true;
    }
    return false;
  }

  /** The place of a peer that proved to be the same: lost, or still held by a connection that died without a word. */
  #takePlace(peerId: number): Place {
    const { peers, lost } = this.#state;
    const present = peers.get(peerId);
    if (present !== undefined) {
      present.connection.close(CloseCode.Replaced, "resumed on another connection");
      this.#detach(present);
      return present;
    }
    const place: LostPeer | undefined = lost.get(peerId);
    assert(place !== undefined, "who may resume is connected or lost");
    lost.delete(peerId);
    return place;
  }

  #admit(
    half: HalfJoined,
    peerId: number,
    place: Place,
    nextSecret: Uint8Array | undefined,
    nowMs: number,
  ): void {
    const state = this.#state;
    const { grants, world } = state;
    const resumed = nextSecret !== undefined;
    const peer = openServerLink(state, half, peerId, place, nowMs);
    half.peer = peer;
    this.#halfJoined.delete(half);
    state.peers.set(peerId, peer);
    state.chooseViewpoint(peer);
    state.ids.fill(peer, world.countOwned(peerId));
    const secret = nextSecret ?? state.environment.randomBytes(RESUME_SECRET_BYTES);
    if (!resumed) state.resume.issue(peerId, secret);
    const roleId = grants.roles[place.role]!.id;
    peer.tell({
      kind: "accepted",
      peer: peerId,
      roleId,
      resumed,
      resumeSecret: secret,
      grantEpoch: peer.grantEpoch,
      worldEpoch: state.worldEpoch,
      authority: SERVER_PEER,
      time: state.timeAt(nowMs),
      entityIds: [...place.freeIds].sort((a, b) => a - b),
      adjustments: adjustmentsOf(grants, place.adjusted),
    });
    peer.tell({ kind: "roster", joins: this.#everyone(), leaves: [] });
    if (!resumed) {
      for (const other of state.peers.values()) {
        if (other === peer) continue;
        other.tell({ kind: "roster", joins: [{ peer: peerId, roleId }], leaves: [] });
      }
    }
    state.log.write(resumed ? LogCode.PeerResumed : LogCode.PeerJoined, nowMs, peerId, roleId);
    state.push({ kind: "peerJoin", peer: peerId, roleId, resumed });
    state.counters.add(resumed ? "join.resumed" : "join.accepted");
    state.counters.set("peers", state.peers.size);
  }

  #everyone(): { peer: number; roleId: number }[] {
    const { roster, grants } = this.#state;
    return roster.entries().map(({ peer, roleIndex }) => ({
      peer,
      roleId: grants.roles[roleIndex]!.id,
    }));
  }

  #handleClosed(half: HalfJoined, info: CloseInfo): void {
    half.isOver = true;
    this.#halfJoined.delete(half);
    this.#held.delete(half);
    const { peer } = half;
    if (peer === undefined) {
      this.#state.log.write(LogCode.Disconnected, this.#state.nowMs, info.code);
    }
    if (peer !== undefined && this.#state.peers.get(peer.peer) === peer) {
      const { nowMs } = this.#state;
      // A peer that means to go says so, by a bye or by this code; everything else may be a network that comes back.
      if (info.by === "local") this.#remove(peer, info.code, reasonOf(info), nowMs);
      else if (info.by === "remote" && info.code === CloseCode.GoingAway) {
        this.#remove(peer, info.code, "left", nowMs);
      } else this.#lose(peer, nowMs);
    }
    this.#state.environment.wake();
  }

  /** Keeps the place of a peer whose connection broke. */
  #lose(peer: ServerPeer, nowMs: number): void {
    const state = this.#state;
    this.#detach(peer);
    const { role, adjusted, freeIds, sender } = peer;
    state.lost.set(peer.peer, { peer: peer.peer, role, adjusted, freeIds, sender });
    state.roster.setConnected(peer.peer, false);
    state.resume.handleLost(peer.peer, nowMs);
    state.counters.add("peers.lost");
    state.log.write(LogCode.PeerLost, nowMs, peer.peer);
  }

  #detach(peer: ServerPeer): void {
    const state = this.#state;
    state.peers.delete(peer.peer);
    state.counters.set("peers", state.peers.size);
    this.#events.detached(peer);
  }

  #remove(peer: ServerPeer, code: number, reason: string, nowMs: number): void {
    if (this.#state.peers.get(peer.peer) === peer) this.#detach(peer);
    this.#forget(peer.peer, peer.freeIds, code, reason, nowMs);
  }

  /** A peer is gone for good: its entities leave the world, its ids come back. */
  #forget(
    peerId: number,
    freeIds: ReadonlySet<EntityId>,
    code: number,
    reason: string,
    nowMs: number,
  ): void {
    const state = this.#state;
    state.resume.forget(peerId);
    const owned: EntityId[] = [];
    state.world.forEachOwned(peerId, (id) => owned.push(id));
    for (const id of owned) state.despawn(id);
    for (const id of freeIds) state.ids.release(id);
    state.roster.remove(peerId, nowMs);
    for (const other of state.peers.values()) {
      other.tell({ kind: "roster", joins: [], leaves: [peerId] });
    }
    state.log.write(LogCode.PeerLeft, nowMs, peerId, code);
    state.push({ kind: "peerLeave", peer: peerId, reason });
  }
}

/** What a joiner hears that says something else than is expected of it. */
const EXPECTED: Readonly<Record<JoinStage, string>> = {
  join: "the first message must be a join",
  proof: "the answer to a challenge must be a proof",
  judging: "nothing may follow a proof before its answer",
};

function reasonOf(info: CloseInfo): string {
  return info.reason === "" ? `closed (${info.code})` : info.reason;
}
