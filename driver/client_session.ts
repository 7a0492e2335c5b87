// How a client comes into a world and stays in it: where to connect and when, the join, resuming a place, and trying again. What is said
// once it has joined goes to the core.

import { CloseCode } from "../protocol/close_codes.ts";
import { ControlFrames } from "../protocol/control_frames.ts";
import {
  type AcceptedMessage,
  type ControlMessage,
  decodeControl,
} from "../protocol/control_messages.ts";
import { clampText } from "../protocol/engine_codec.ts";
import type { ConnectOrder, ToDriver } from "../protocol/engine_messages.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import {
  ENGINE_HEARTBEAT_MS,
  JOIN_TIMEOUT_MS,
  PIN_BYTES,
  PROTOCOL_VERSION,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
  RESUME_SECRET_BYTES,
} from "../protocol/limits.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { encodeJoinProof } from "../session/join_proof.ts";
import type { CloseInfo, Connection, Stream } from "../transport/connection.ts";
import type { ClientState } from "./client_state.ts";
import { sendControl } from "./server_peer.ts";

/** What happens on the connection, for the core. */
export interface SessionEvents {
  /** The server let us in; true when the core took it as good. */
  accepted(
    message: AcceptedMessage,
    connection: Connection,
    control: Stream,
    joinMs: number,
  ): boolean;
  /** A control message after joining. */
  control(message: ControlMessage, nowMs: number): void;
  /** A datagram after joining. */
  datagram(bytes: Uint8Array): void;
  /** The server opened a channel. */
  stream(stream: Stream): void;
  /** The connection is over. */
  left(): void;
}

/** A claim to a place in a world. */
interface Claim {
  readonly peer: number;
  readonly secret: Uint8Array;
}

/** How far the session has come. */
type Stage = "waiting" | "due" | "connecting" | "joining" | "joined" | "ended";

/**
 * One client's session, over any number of connections.
 *
 * Order of calls: `begin` with the engine's order; then look at `pollConnect` after each call, and call `handleTimer` no later than
 * `nextTimerMs`.
 */
export class ClientSession {
  readonly #state: ClientState;
  readonly #events: SessionEvents;
  #stage: Stage = "waiting";
  #order: ConnectOrder | undefined;
  #claim: Claim | undefined;
  #connection: Connection | undefined;
  #control: Stream | undefined;
  #dueMs = 0;
  #backoffMs = RECONNECT_FIRST_MS;
  #joinSentMs = 0;
  /** When the message was sent that the server's next one answers: the join, or the proof. */
  #askedMs = 0;
  /** The server of this connection has challenged us. */
  #isChallenged = false;
  /** Number of the signature that the engine was asked for. */
  #signing: number | undefined;
  #nextSigning = 1;

  /** A session without an order. */
  constructor(state: ClientState, events: SessionEvents) {
    this.#state = state;
    this.#events = events;
  }

  /** The engine's welcome has not come. */
  get isWaiting(): boolean {
    return this.#stage === "waiting";
  }

  /** The server let us in, and the connection lives. */
  get isJoined(): boolean {
    return this.#stage === "joined";
  }

  /** Starts connecting; `ticket` is what an earlier driver's `joined` gave, or empty. */
  begin(order: ConnectOrder, ticket: Uint8Array, nowMs: number): void {
    this.#order = order;
    if (ticket.length === 2 + RESUME_SECRET_BYTES) {
      this.#claim = { peer: ticket[0]! | (ticket[1]! << 8), secret: ticket.slice(2) };
    }
    this.#stage = "due";
    this.#dueMs = nowMs;
  }

  /** What the engine keeps, so that its next driver can resume. */
  get ticket(): Uint8Array {
    if (this.#claim === undefined) return new Uint8Array(0);
    const { peer, secret } = this.#claim;
    return Uint8Array.of(peer & 0xff, peer >>> 8, ...secret);
  }

  /** Where to connect to, when it is time to; each order is given once. */
  pollConnect(nowMs: number): ConnectOrder | undefined {
    if (this.#stage !== "due" || nowMs < this.#dueMs) return undefined;
    this.#stage = "connecting";
    this.#state.counters.add("connect.attempts");
    const { counters, log } = this.#state;
    log.write(LogCode.Connecting, nowMs, counters.get("connect.attempts"));
    return this.#order;
  }

  /** The connection that was ordered could not be made. */
  handleConnectFailed(reason: string, nowMs: number): void {
    if (this.#stage !== "connecting") return;
    this.#tellLeft(CloseCode.Silence, reason, false);
    this.#retry(nowMs);
  }

  /** The connection that was ordered is up. */
  handleConnection(connection: Connection, nowMs: number): void {
    if (this.#stage !== "connecting") {
      connection.close(CloseCode.Normal, "not wanted any more");
      return;
    }
    this.#stage = "joining";
    this.#connection = connection;
    this.#joinSentMs = nowMs;
    this.#askedMs = nowMs;
    const frames = new ControlFrames();
    connection.start({
      handleDatagram: (bytes) => this.#handleDatagram(connection, bytes),
      handleStream: (stream) => {
        if (this.#connection === connection && this.isJoined) this.#events.stream(stream);
        else stream.reset(Fault.Unexpected);
      },
      handleClosed: (info) => this.#handleClosed(connection, info),
    });
    const control = connection.openStream();
    this.#control = control;
    control.setHandler({
      handleData: (bytes) => this.#handleControlBytes(connection, frames, bytes),
      handleEnd: () => connection.close(CloseCode.Normal, "control stream ended"),
      handleReset: () => connection.close(Fault.Unexpected, "control stream reset"),
      handleWritable: () => {},
    });
    sendControl(control, {
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(this.#state.grants.schemaHash),
      credential: this.#hasToken ? "token" : "none",
      resume: this.#claim,
    });
  }

  /** The engine's answer to `sign`; one that nobody waits for any more is passed over. */
  handleSigned(message: Extract<ToDriver, { kind: "signed" }>, nowMs: number): void {
    if (this.#signing === undefined || message.request !== this.#signing) return;
    this.#signing = undefined;
    const token = message.credential.length > 0 ? message.credential : this.#order!.credential;
    if (message.signature.length === 0 || token.length === 0) {
      const reason = token.length === 0
        ? "this world wants a join token, and the engine has none"
        : "this world wants a join token, and the engine gave no signature for it";
      return this.#leave(CloseCode.Credential, reason, true, nowMs);
    }
    sendControl(this.#control!, { kind: "proof", token, signature: message.signature });
    this.#askedMs = nowMs;
  }

  /** When `handleTimer` wants to be called next, while not joined. */
  nextTimerMs(nowMs: number): number {
    if (this.#stage === "due") return this.#dueMs;
    if (this.#stage === "joining") return this.#joinSentMs + JOIN_TIMEOUT_MS;
    return this.#stage === "waiting" ? Infinity : nowMs + ENGINE_HEARTBEAT_MS;
  }

  /** Time has passed. */
  handleTimer(nowMs: number): void {
    if (this.#stage === "joining" && nowMs - this.#joinSentMs >= JOIN_TIMEOUT_MS) {
      this.#leave(CloseCode.JoinTimeout, "the server did not answer the join", false, nowMs);
    }
  }

  /** Leaves the world for good. */
  close(): void {
    if (this.#control !== undefined && this.isJoined) {
      sendControl(this.#control, { kind: "bye", code: CloseCode.Normal, reason: "" });
    }
    const connection = this.#connection;
    this.#stage = "ended";
    this.#forgetConnection();
    // What waits on a stream may be lost when the connection ends; the code of its end says the same as the bye.
    connection?.close(CloseCode.GoingAway, "");
  }

  #handleDatagram(connection: Connection, bytes: Uint8Array): void {
    if (this.#connection !== connection) return;
    if (this.isJoined) this.#events.datagram(bytes);
    // It overtook the accepting message on the control stream; the server repeats what is in it.
    else this.#state.counters.add("net.datagramsBeforeJoin");
  }

  #handleControlBytes(connection: Connection, frames: ControlFrames, bytes: Uint8Array): void {
    const { environment, nowMs } = this.#state;
    frames.handleBytes(bytes);
    while (this.#connection === connection) {
      const frame = frames.pollFrame();
      if (frame === undefined) {
        if (frames.fault !== undefined) this.#violate(frames.fault);
        break;
      }
      const result = decodeControl(frame, "fromAuthority");
      if (result.ok) this.#handleControl(result.message, nowMs);
      else this.#violate(result.fault);
    }
    environment.wake();
  }

  #handleControl(message: ControlMessage, nowMs: number): void {
    if (message.kind === "bye") {
      const isFinal = message.code === CloseCode.Kicked;
      return this.#leave(message.code, message.reason, isFinal, nowMs);
    }
    if (this.#stage === "joined") {
      if (message.kind === "accepted" || message.kind === "refused") {
        return this.#violate(Fault.Unexpected);
      }
      return this.#events.control(message, nowMs);
    }
    if (message.kind === "challenge") this.#handleChallenge(message.challenge, nowMs);
    else if (message.kind === "accepted") this.#handleAccepted(message, nowMs);
    else if (message.kind === "refused") this.#handleRefused(message.code, message.reason, nowMs);
    else this.#violate(Fault.Unexpected);
  }

  /** Has the engine sign what proves that this joiner holds its token's key, towards this server and for this world. */
  #handleChallenge(challenge: Uint8Array, nowMs: number): void {
    const pin = this.#connection!.channelBinding;
    if (!this.#hasToken || this.#isChallenged) return this.#violate(Fault.Unexpected);
    if (pin.length !== PIN_BYTES) {
      const reason = "a join token is for one certificate: let the engine pass the server's pin, " +
        "or write host.pin in the manifest";
      return this.#leave(CloseCode.Credential, reason, true, nowMs);
    }
    this.#isChallenged = true;
    this.#signing = this.#nextSigning;
    this.#nextSigning = (this.#nextSigning + 1) >>> 0;
    const schemaHash = Uint8Array.fromHex(this.#state.grants.schemaHash);
    const bytes = encodeJoinProof({ challenge, pin, schemaHash });
    this.#state.push({ kind: "sign", request: this.#signing, bytes });
  }

  /** Where nobody may join without a token the engine has one, or gets one when it is asked to sign. */
  get #hasToken(): boolean {
    return this.#order!.credential.length > 0 || !this.#state.grants.identity.anonymous;
  }

  #handleAccepted(message: AcceptedMessage, nowMs: number): void {
    const connection = this.#connection!;
    const joinMs = nowMs - this.#askedMs;
    this.#claim = { peer: message.peer, secret: message.resumeSecret.slice() };
    if (!this.#events.accepted(message, connection, this.#control!, joinMs)) {
      return this.#violate(Fault.UnknownId);
    }
    this.#stage = "joined";
    this.#backoffMs = RECONNECT_FIRST_MS;
  }

  #handleRefused(code: number, reason: string, nowMs: number): void {
    const hadClaim = this.#claim !== undefined;
    if (hadClaim && code === CloseCode.Credential) {
      // The old place is gone; a new one may be had.
      this.#claim = undefined;
      this.#backoffMs = RECONNECT_FIRST_MS;
      return this.#leave(code, reason, false, nowMs);
    }
    this.#leave(code, reason, !isPassing(code), nowMs);
  }

  #handleClosed(connection: Connection, info: CloseInfo): void {
    if (this.#connection !== connection) return;
    const { nowMs, environment } = this.#state;
    const reason = info.reason === "" ? `connection ${info.by}` : info.reason;
    if (info.by === "remote" && this.#stage === "joining" && info.code !== CloseCode.Normal) {
      // The refusal itself was overtaken by the end of its connection.
      this.#handleRefused(info.code, reason, nowMs);
    } else {
      const isFinal = info.by === "remote" &&
        (info.code === CloseCode.Kicked || info.code === Fault.Incompatible);
      this.#leave(info.code, reason, isFinal, nowMs);
    }
    environment.wake();
  }

  #violate(fault: Fault): void {
    const connection = this.#connection;
    this.#state.violate(connection, fault);
    if (connection !== undefined) {
      this.#leave(fault, faultName(fault), false, this.#state.nowMs);
    }
  }

  /** The connection is over, by whatever side. */
  #leave(code: number, reason: string, final: boolean, nowMs: number): void {
    const connection = this.#connection;
    this.#forgetConnection();
    connection?.close(CloseCode.Normal, "");
    if (this.#stage === "ended") return;
    this.#tellLeft(code, reason, final);
    if (final) this.#stage = "ended";
    else this.#retry(nowMs);
  }

  #forgetConnection(): void {
    this.#connection = undefined;
    this.#control = undefined;
    this.#isChallenged = false;
    this.#signing = undefined;
    this.#events.left();
  }

  #tellLeft(code: number, reason: string, final: boolean): void {
    const { log, nowMs } = this.#state;
    log.write(final ? LogCode.GivenUp : LogCode.Left, nowMs, code);
    this.#state.push({ kind: "left", code, reason: clampText(reason), final });
  }

  /** Tries again after a time that doubles, with a random half so that a thousand clients do not come back at once. */
  #retry(nowMs: number): void {
    this.#stage = "due";
    const share = this.#state.environment.randomBytes(1)[0]! / 255;
    this.#dueMs = nowMs + this.#backoffMs * (0.5 + share / 2);
    this.#backoffMs = Math.min(this.#backoffMs * 2, RECONNECT_MAX_MS);
  }
}

/** Refusals that another attempt may be spared. */
function isPassing(code: number): boolean {
  return code === CloseCode.Full || code === CloseCode.JoinTimeout ||
    code === CloseCode.GoingAway || code === CloseCode.Replaced || code === CloseCode.Overloaded ||
    code === CloseCode.EngineLost || code === CloseCode.Shed || code === Fault.Flood;
}
