// A connection as a state machine over frames: streams, credit, announcing, the order of a handler's calls. It knows neither bytes
// on a wire nor time: a carrier (loopback, simulated link, one byte stream) takes its frames to the other end and back.

import { assert } from "../protocol/assert.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import { MAX_EARLY_DATAGRAMS, MAX_STREAMS_PER_PEER } from "../protocol/limits.ts";
import { assertApplicationCode, clampReason } from "./close_info.ts";
import type { CloseInfo, Connection, ConnectionHandler, Stream } from "./connection.ts";
import { FrameKind, type MuxFrame } from "./mux_frame.ts";
import { MuxStream, type StreamOwner } from "./mux_stream.ts";

/** What takes a {@linkcode MuxConnection}'s frames to the other end. No call may call back into the connection. */
export interface Carrier {
  /** Largest datagram that passes now, bytes. */
  readonly maxDatagramSize: number;
  /** Largest payload of one data frame, bytes. */
  readonly maxDataBytes: number;
  /** False while the carrier has enough to send; it calls `handleReady` when that changes. */
  readonly isReady: boolean;
  /** Sends a datagram, or drops it (false: at this end). */
  sendDatagram(bytes: Uint8Array): boolean;
  /** Takes a frame to the other end without loss; data, end and reset of one stream stay in order. */
  sendFrame(frame: MuxFrame): void;
  /** Runs `action` soon, never inside the current call. */
  defer(action: () => void): void;
  /** The connection is over; nothing more will be sent. */
  release(): void;
}

/** What a {@linkcode MuxConnection} is told about itself. */
export interface MuxOptions {
  /** The connector's streams have even ids, the acceptor's odd ones. */
  readonly isConnector: boolean;
  /** See {@linkcode Connection.label}. */
  readonly label: string;
  /** See {@linkcode Connection.channelBinding}. */
  readonly channelBinding?: Uint8Array;
}

/**
 * The one implementation of {@linkcode Connection} for every carrier that moves frames.
 *
 * The carrier calls `handleDatagram`, `handleFrame`, `handleReady` and `handleLost`, each from outside any other call.
 */
export class MuxConnection implements Connection, StreamOwner {
  readonly label: string;
  readonly channelBinding: Uint8Array;
  readonly #carrier: Carrier;
  readonly #localParity: number;
  readonly #streams = new Map<number, MuxStream>();
  readonly #pending = new Set<MuxStream>();
  #localOpen = 0;
  #remoteOpen = 0;
  #nextLocalId: number;
  #nextRemoteId: number;
  #handler: ConnectionHandler | undefined;
  #live = false;
  #over = false;
  #closeInfo: CloseInfo | undefined;
  #earlyDatagrams: Uint8Array[] = [];
  #earlyStreams: MuxStream[] = [];

  /** A connection that is open already. Both ends start from nothing: there is no handshake here. */
  constructor(carrier: Carrier, options: MuxOptions) {
    this.#carrier = carrier;
    this.label = options.label;
    this.channelBinding = options.channelBinding ?? new Uint8Array(0);
    this.#localParity = options.isConnector ? 0 : 1;
    this.#nextLocalId = this.#localParity;
    this.#nextRemoteId = 1 - this.#localParity;
  }

  /** True once the connection has ended, also before the handler heard of it. */
  get isOver(): boolean {
    return this.#over;
  }

  get maxDatagramSize(): number {
    return this.#carrier.maxDatagramSize;
  }

  get maxDataBytes(): number {
    return this.#carrier.maxDataBytes;
  }

  start(handler: ConnectionHandler): void {
    assert(this.#handler === undefined, "a connection is started once");
    this.#handler = handler;
    this.#carrier.defer(() => this.#goLive(handler));
  }

  sendDatagram(bytes: Uint8Array): boolean {
    if (this.#over || bytes.length > this.#carrier.maxDatagramSize) return false;
    return this.#carrier.sendDatagram(bytes);
  }

  openStream(): Stream {
    const id = this.#nextLocalId;
    const stream = new MuxStream(this, id);
    if (this.#over) {
      stream.kill();
    } else if (this.#localOpen >= MAX_STREAMS_PER_PEER) {
      stream.handleReset(Fault.OutOfRange);
    } else {
      this.#nextLocalId += 2;
      this.#localOpen += 1;
      this.#streams.set(id, stream);
    }
    return stream;
  }

  close(code: number, reason: string): void {
    assertApplicationCode(code);
    if (this.#over) return;
    const info: CloseInfo = { code, reason: clampReason(reason), by: "local" };
    this.#carrier.sendFrame({ kind: FrameKind.Close, code, reason: info.reason });
    this.#end(info);
    this.#carrier.defer(() => this.#reportClosed());
  }

  // ---- from the carrier

  /** A datagram came; the connection owns its bytes. */
  handleDatagram(bytes: Uint8Array): void {
    if (this.#over) return;
    if (this.#live) {
      this.#handler!.handleDatagram(bytes);
      return;
    }
    this.#earlyDatagrams.push(bytes);
    if (this.#earlyDatagrams.length > MAX_EARLY_DATAGRAMS) this.#earlyDatagrams.shift();
  }

  /** A frame came. One that breaks the rules ends the connection with its fault as the code. */
  handleFrame(frame: MuxFrame): void {
    if (this.#over) return;
    if (frame.kind === FrameKind.Close) {
      this.#end({ code: frame.code, reason: clampReason(frame.reason), by: "remote" });
      this.#reportClosed();
      return;
    }
    const fault = this.#admit(frame.stream, frame.kind);
    if (fault !== undefined) {
      this.close(fault, faultName(fault));
      return;
    }
    // A stream that ended here may still be spoken of by frames that were under way.
    const stream = this.#over ? undefined : this.#streams.get(frame.stream);
    const broken = stream?.handleFrame(frame);
    if (broken !== undefined) this.close(broken, faultName(broken));
  }

  /** The carrier has room again. */
  handleReady(): void {
    this.#pump();
  }

  /** The other end fell silent, or the carrier broke. */
  handleLost(reason: string): void {
    if (this.#over) return;
    this.#end({ code: 0, reason, by: "lost" });
    this.#reportClosed();
  }

  /** A frame-level mistake of the peer that the carrier found. */
  handleFault(fault: Fault): void {
    this.close(fault, faultName(fault));
  }

  /** Ends without a word to either side: what a crash looks like. For simulations. */
  kill(): void {
    if (this.#over) return;
    this.#handler = undefined;
    this.#live = false;
    this.#end({ code: 0, reason: "", by: "lost" });
    this.#closeInfo = undefined;
  }

  // ---- from the streams

  sendFrame(frame: MuxFrame): void {
    if (!this.#over) this.#carrier.sendFrame(frame);
  }

  requestSend(stream: MuxStream): void {
    if (this.#over) return;
    this.#pending.add(stream);
    this.#pump();
  }

  defer(action: () => void): void {
    this.#carrier.defer(action);
  }

  forget(stream: MuxStream): void {
    if (this.#streams.get(stream.id) !== stream) return;
    this.#streams.delete(stream.id);
    this.#pending.delete(stream);
    if ((stream.id & 1) === this.#localParity) this.#localOpen -= 1;
    else this.#remoteOpen -= 1;
  }

  // ---- within

  /** Opens the peer's stream `id` and, as QUIC does, all of its lower ones; or finds what is wrong with that. */
  #admit(id: number, kind: number): Fault | undefined {
    if ((id & 1) === this.#localParity) return id < this.#nextLocalId ? undefined : Fault.UnknownId;
    if (id < this.#nextRemoteId) return undefined;
    if (kind === FrameKind.Credit) return Fault.UnknownId;
    const opened = (id - this.#nextRemoteId) / 2 + 1;
    if (this.#remoteOpen + opened > MAX_STREAMS_PER_PEER) return Fault.Flood;
    while (this.#nextRemoteId <= id) {
      const stream = new MuxStream(this, this.#nextRemoteId);
      this.#streams.set(this.#nextRemoteId, stream);
      this.#nextRemoteId += 2;
      this.#remoteOpen += 1;
      if (this.#live) this.#handler!.handleStream(stream);
      else this.#earlyStreams.push(stream);
      if (this.#over) return undefined;
    }
    return undefined;
  }

  /** One data frame of each waiting stream in turn, so that a long transfer does not hold up the others. */
  #pump(): void {
    while (this.#pending.size > 0 && !this.#over && this.#carrier.isReady) {
      const stream: MuxStream = this.#pending.values().next().value!;
      this.#pending.delete(stream);
      if (stream.sendOne()) this.#pending.add(stream);
    }
  }

  #goLive(handler: ConnectionHandler): void {
    if (this.#handler !== handler) return;
    this.#live = true;
    const streams = this.#earlyStreams;
    const datagrams = this.#earlyDatagrams;
    this.#earlyStreams = [];
    this.#earlyDatagrams = [];
    for (const stream of streams) if (!this.#over) handler.handleStream(stream);
    for (const bytes of datagrams) if (!this.#over) handler.handleDatagram(bytes);
    this.#reportClosed();
  }

  #end(info: CloseInfo): void {
    this.#over = true;
    this.#closeInfo = info;
    for (const stream of this.#streams.values()) stream.kill();
    this.#streams.clear();
    this.#pending.clear();
    this.#carrier.release();
  }

  #reportClosed(): void {
    const info = this.#closeInfo;
    if (!this.#live || info === undefined) return;
    this.#closeInfo = undefined;
    this.#live = false;
    this.#handler!.handleClosed(info);
  }
}
