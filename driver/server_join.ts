// The door of a server: connections that have not joined, what they have to show, their control streams, and how connections end. What a peer
// has once it is in is kept by `server_places.ts`; what joined peers say goes to the core.

import { networkOf } from "../protocol/address_label.ts";
import { assert } from "../protocol/assert.ts";
import { CloseCode } from "../protocol/close_codes.ts";
import { ControlFrames } from "../protocol/control_frames.ts";
import {
  type ControlMessage,
  decodeControl,
  type JoinMessage,
  type ProofMessage,
} from "../protocol/control_messages.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import {
  CHALLENGE_BYTES,
  JOIN_TIMEOUT_MS,
  MAX_HALF_JOINED,
  PROTOCOL_VERSION,
  WORK_CHUNK,
  WORK_CONTROL,
} from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { JoinAttempt, type JoinStage } from "../session/join_attempt.ts";
import type { CloseInfo, Connection, Stream } from "../transport/connection.ts";
import { toHex } from "./hex.ts";
import { whoYields } from "./join_places.ts";
import { type HalfJoined, type ServerPeer, tellStranger } from "./server_peer.ts";
import { ServerPlaces } from "./server_places.ts";
import type { ServerState } from "./server_state.ts";
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

/** Somebody's turn has come, for which so many rows were charged. */
type GoOn = (nowMs: number, rows: number) => void;

/** One that has said all it has to say, and waits for its turn. */
interface Waiting {
  readonly half: HalfJoined;
  readonly goOn: GoOn;
}

/** The door of a server. */
export class ServerJoin {
  readonly #state: ServerState;
  readonly #events: JoinEvents;
  readonly #tokens: TokenDoor;
  readonly #places: ServerPlaces;
  readonly #halfJoined = new Set<HalfJoined>();
  /** Those of them whose turn has not come, in the order in which they came. */
  readonly #waiting: Waiting[] = [];
  #lastNetwork = "";
  /** Joined ones whose control streams are paused, because they have used up their allowance of work. */
  readonly #held = new Set<HalfJoined>();
  #isClosed = false;

  /** A door that is open. */
  constructor(state: ServerState, events: JoinEvents) {
    this.#state = state;
    this.#events = events;
    this.#tokens = new TokenDoor(state);
    this.#places = new ServerPlaces(state, (peer) => events.detached(peer));
  }

  /** Connections that have not joined. */
  get waitingCount(): number {
    return this.#halfJoined.size;
  }

  /** Somebody connected. */
  handleConnection(connection: Connection, nowMs: number): void {
    const { counters } = this.#state;
    const mustYield = !this.#isClosed && this.#halfJoined.size >= MAX_HALF_JOINED;
    if (this.#isClosed || (mustYield && !this.#makeRoom(connection, nowMs))) {
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

  /** Ends one connection of the network that has most places, so that none keeps others out; false when none may be ended. */
  #makeRoom({ label }: Connection, nowMs: number): boolean {
    const victim = whoYields(this.#halfJoined, label, nowMs);
    if (victim === undefined) return false;
    this.#halfJoined.delete(victim);
    this.#state.counters.add("join.displaced");
    this.#state.log.write(LogCode.JoinRefused, nowMs, CloseCode.Full);
    this.#end(victim, CloseCode.Full, "");
    return true;
  }

  /** Time has passed: joins that take too long end, and so do places that nobody took up again. */
  handleTick(nowMs: number): void {
    this.#places.handleTick(nowMs);
    this.#admitWaiting(nowMs);
    for (const half of this.#halfJoined) {
      if (half.attempt.deadlineMs > nowMs || half.isOver) continue;
      if (this.#waiting.some((one) => one.half === half)) {
        this.#refuse(half, CloseCode.Overloaded, "too many join at once: try again soon");
      } else this.#refuse(half, CloseCode.JoinTimeout, "no join message in time");
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
    this.#places.kick(peerId, reason, nowMs);
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
    this.#waiting.length = 0;
  }

  #handleDatagram(half: HalfJoined, bytes: Uint8Array): void {
    if (half.peer === undefined) return this.#state.counters.add("net.datagramsBeforeJoin");
    if (!this.#isIn(half.peer)) return;
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
    } else if (this.#isIn(half.peer)) {
      this.#events.stream(half.peer, stream);
    } else {
      stream.reset(Fault.Unexpected);
    }
  }

  /** Whether it still holds its place: one that was removed has no say any more, whatever still comes of it. */
  #isIn(peer: ServerPeer): boolean {
    return this.#state.peers.get(peer.peer) === peer;
  }

  #handleControlBytes(half: HalfJoined, bytes: Uint8Array): void {
    const { nowMs } = this.#state;
    if (half.isOver || (half.peer !== undefined && !this.#isIn(half.peer))) return;
    if (half.peer === undefined && !half.attempt.handleBytes(bytes.length)) {
      this.#refuse(half, Fault.OutOfRange, "more bytes than a join has");
      return this.#state.environment.wake();
    }
    half.peer?.work.spend(WORK_CHUNK);
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
      this.#places.remove(peer, CloseCode.Normal, "left", nowMs);
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
    this.#letIn(half, this.#places.takeUp(half, resume.peer, claim.next, nowMs));
    this.#state.joinPace.handleResumed(this.#state.world.entityCount);
  }

  #joinAnew(half: HalfJoined, credential: JoinMessage["credential"], nowMs: number): void {
    const { identity, defaultRole } = this.#state.grants;
    if (credential === "none") {
      if (identity.anonymous) {
        half.attempt.wait();
        return this.#inTurn(
          half,
          (atMs, rows) => this.#admitNew(half, defaultRole, atMs, rows),
          nowMs,
        );
      }
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
    // A token is used up once it is found good: it is not looked at before its bearer may come in.
    this.#inTurn(
      half,
      (_nowMs, rows) => {
        const isWanted = () => {
          if (half.isOver) this.#state.joinPace.giveBack(rows);
          return !half.isOver;
        };
        this.#tokens.judge(message, challenge, pin, isWanted, (verdict) => {
          if (verdict.isGood) {
            return this.#admitNew(half, verdict.role, this.#state.nowMs, rows, verdict.introduce);
          }
          this.#state.joinPace.giveBack(rows);
          this.#refuse(half, verdict.code, verdict.reason);
        });
      },
      this.#state.nowMs,
    );
  }

  /** Goes on with one that nothing is missing of: at once, or when newcomers before it have been let in. */
  #inTurn(half: HalfJoined, goOn: GoOn, nowMs: number): void {
    if (this.#waiting.length === 0 && this.#state.joinPace.mayAdmit(nowMs)) {
      return this.#goOn(goOn, nowMs);
    }
    this.#waiting.push({ half, goOn });
    this.#state.counters.add("join.waited");
  }

  /** Goes on with those who wait, as far as the pace allows: of two networks by turns, so that a crowd of one does not keep others out. */
  #admitWaiting(nowMs: number): void {
    const waiting = this.#waiting;
    while (waiting.length > 0) {
      const isOther = ({ half }: Waiting) => networkOf(half.connection.label) !== this.#lastNetwork;
      const at = Math.max(0, waiting.findIndex((one) => one.half.isOver || isOther(one)));
      const { half, goOn } = waiting[at]!;
      if (!half.isOver && !this.#state.joinPace.mayAdmit(nowMs)) return;
      waiting.splice(at, 1);
      if (half.isOver) continue;
      this.#lastNetwork = networkOf(half.connection.label);
      this.#goOn(goOn, nowMs);
    }
  }

  /** It is charged before its verdict is known, which may come later: else all who wait would go on at once. */
  #goOn(goOn: GoOn, nowMs: number): void {
    goOn(nowMs, this.#state.joinPace.charge(this.#state.world.entityCount));
  }

  /** Gives a new place; `introduce` is called before the engine hears of the peer. */
  #admitNew(
    half: HalfJoined,
    role: number,
    nowMs: number,
    rows: number,
    introduce?: (peer: number) => void,
  ): void {
    const peer = this.#places.admitNew(half, role, nowMs, introduce);
    if (peer !== undefined) return this.#letIn(half, peer);
    this.#state.joinPace.giveBack(rows);
    this.#refuse(half, CloseCode.Full, "the world is full");
  }

  /** It has a place in the world, and so none of those who wait at the door. */
  #letIn(half: HalfJoined, peer: ServerPeer): void {
    half.peer = peer;
    this.#halfJoined.delete(half);
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
      // Who is shed comes back once there is memory again.
      const isOurs = info.by === "local" && info.code !== CloseCode.Shed;
      if (isOurs) this.#places.remove(peer, info.code, reasonOf(info), nowMs);
      else if (info.by === "remote" && info.code === CloseCode.GoingAway) {
        this.#places.remove(peer, info.code, "left", nowMs);
      } else this.#places.lose(peer, nowMs);
    }
    this.#state.environment.wake();
  }
}

/** What a joiner hears that says something else than is expected of it. */
const EXPECTED: Readonly<Record<JoinStage, string>> = {
  join: "the first message must be a join",
  proof: "the answer to a challenge must be a proof",
  judging: "nothing may follow before the answer",
};

function reasonOf(info: CloseInfo): string {
  return info.reason === "" ? `closed (${info.code})` : info.reason;
}
