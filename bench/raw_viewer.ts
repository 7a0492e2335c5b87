// A client that is nothing but the other end of a server core's connection in the same process: it joins, takes datagrams and acknowledges
// them. It reads their state only where it is told to, so that hundreds of viewers cost next to nothing beside the server that is measured.

import { AckTracker } from "../protocol/ack_tracker.ts";
import { ControlFrames, encodeControlFrame } from "../protocol/control_frames.ts";
import {
  type AcceptedMessage,
  decodeControl,
  encodeControl,
  type JoinMessage,
} from "../protocol/control_messages.ts";
import { readHeader, readSections, timeFromWire, writeHeader } from "../protocol/datagram.ts";
import { faultName } from "../protocol/faults.ts";
import { MIN_DATAGRAM_BYTES, PROTOCOL_VERSION } from "../protocol/limits.ts";
import { Reader } from "../protocol/reader.ts";
import { unwrap16 } from "../protocol/sequence.ts";
import { SUBTICKS, tickOf } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";
import type { Grants } from "../permissions/grants.ts";
import { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import type {
  Connection,
  ConnectionHandler,
  Stream,
  StreamHandler,
} from "../transport/connection.ts";

const NO_BINDING = new Uint8Array(0);

/** The control stream as the server has it: what it writes goes straight to the viewer. */
class ControlEnd implements Stream {
  readonly bufferedBytes = 0;
  #handler: StreamHandler | undefined;
  readonly #take: (bytes: Uint8Array) => void;

  constructor(take: (bytes: Uint8Array) => void) {
    this.#take = take;
  }

  setHandler(handler: StreamHandler): void {
    this.#handler = handler;
  }

  write(bytes: Uint8Array): boolean {
    this.#take(bytes);
    return true;
  }

  /** Bytes from the viewer. */
  deliver(bytes: Uint8Array): void {
    this.#handler!.handleData(bytes);
  }

  end(): void {}
  reset(): void {}
  pause(): void {}
}

/** The connection as the server has it: datagrams wait until the viewer takes them. */
class ServerEnd implements Connection {
  readonly channelBinding = NO_BINDING;
  readonly label = "viewer";
  readonly maxDatagramSize = MIN_DATAGRAM_BYTES;
  readonly waiting: Uint8Array[] = [];
  handler: ConnectionHandler | undefined;
  closed: { readonly code: number; readonly reason: string } | undefined;

  start(handler: ConnectionHandler): void {
    this.handler = handler;
  }

  sendDatagram(bytes: Uint8Array): boolean {
    this.waiting.push(bytes);
    return true;
  }

  openStream(): Stream {
    throw new Error("a viewer takes no streams from its server");
  }

  close(code: number, reason: string): void {
    this.closed ??= { code, reason };
  }
}

/** One viewer. Order of calls: `connection` to the server, `join`, then after each tick `take` and `acknowledge`. */
export class RawViewer {
  /** The server's end of its connection. */
  readonly connection: Connection;
  /** Bytes and number of datagrams taken so far, and those of them that were its sections. */
  bytesIn = 0;
  datagramsIn = 0;
  sectionBytesIn = 0;
  /** What it holds of the server's state, while it reads. */
  receiver: SnapshotReceiver | undefined;
  readonly #grants: Grants;
  readonly #end = new ServerEnd();
  readonly #control: ControlEnd;
  readonly #frames = new ControlFrames();
  readonly #acks = new AckTracker();
  readonly #writer = new Writer(64);
  #accepted: AcceptedMessage | undefined;
  /** Datagrams on their way, by the call in which they were sent. */
  readonly #underWay: Uint8Array[][] = [];
  #joinedMs = 0;
  #newestTick = 0;
  #sequence = 0;

  /** A viewer that has not joined; it reads state from the start. */
  constructor(grants: Grants) {
    this.#grants = grants;
    this.connection = this.#end;
    this.#control = new ControlEnd((bytes) => this.#handleControl(bytes));
  }

  /** Its peer id. */
  get peer(): number {
    return this.#accepted!.peer;
  }

  /** Asks to join; the server must know the connection by now and answers at once. */
  join(nowMs: number): void {
    this.#joinedMs = nowMs;
    this.#end.handler!.handleStream(this.#control);
    const message: JoinMessage = {
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(this.#grants.schemaHash),
      credential: "none",
      resume: undefined,
    };
    this.#control.deliver(encodeControlFrame(encodeControl(message)));
    this.#check();
    if (this.#accepted === undefined) throw new Error("the server does not answer a join");
    this.receiver = new SnapshotReceiver({
      grants: this.#grants,
      direction: "down",
      roleIndex: this.#grants.defaultRole,
      peer: this.peer,
    });
    this.#newestTick = tickOf(this.#accepted.time);
  }

  /** Stops reading what comes; it is acknowledged as before. */
  stopReading(): void {
    this.receiver = undefined;
  }

  /** Takes the datagrams that the server had sent by the last call but `lag - 1`. */
  take(lag: number, nowMs: number): void {
    this.#check();
    const { waiting } = this.#end;
    this.#underWay.push(waiting.splice(0));
    if (this.#underWay.length < lag) return;
    for (const bytes of this.#underWay.shift()!) this.#take(bytes, nowMs);
  }

  /** Sends a datagram that acknowledges what has come. */
  acknowledge(nowMs: number): void {
    const w = this.#writer;
    w.clear();
    const ack = this.#acks.writeBlock(nowMs);
    const { worldEpoch, time: joined } = this.#accepted!;
    const units = this.#grants.tickHz * SUBTICKS / 1000;
    const time = Math.floor(joined + (nowMs - this.#joinedMs) * units);
    writeHeader(w, { sequence: this.#sequence++, worldEpoch, time, ack });
    this.#end.handler!.handleDatagram(w.finish());
  }

  #take(bytes: Uint8Array, nowMs: number): void {
    this.bytesIn += bytes.length;
    this.datagramsIn += 1;
    const reader = new Reader(bytes);
    const header = readHeader(reader);
    const sections = header === undefined ? undefined : readSections(reader);
    if (header === undefined || sections === undefined) {
      throw new Error("the server sent what is no datagram");
    }
    const sequence = unwrap16(header.sequence, Math.max(0, this.#acks.largest));
    const tick = tickOf(timeFromWire(header.tick, header.sub, this.#newestTick));
    this.#newestTick = tick;
    const { snapshot } = sections;
    this.sectionBytesIn += snapshot?.length ?? 0;
    if (snapshot !== undefined && this.receiver !== undefined) {
      const body = new Reader(snapshot);
      const decoded = this.receiver.decode(body, tick);
      if (decoded === undefined) throw new Error(`bad state: ${faultName(body.fault!)}`);
      this.receiver.commit(decoded);
    }
    this.#acks.handleReceived(sequence, nowMs, snapshot !== undefined);
  }

  #handleControl(bytes: Uint8Array): void {
    this.#frames.handleBytes(bytes);
    for (;;) {
      const frame = this.#frames.pollFrame();
      if (frame === undefined) return;
      const result = decodeControl(frame, "fromAuthority");
      if (!result.ok) throw new Error(`bad control message: ${faultName(result.fault)}`);
      const { message } = result;
      if (message.kind === "accepted") this.#accepted = message;
      else if (message.kind === "refused") throw new Error(`refused: ${message.reason}`);
    }
  }

  #check(): void {
    const { closed } = this.#end;
    if (closed !== undefined) {
      throw new Error(`the server ended a connection: ${closed.code} ${closed.reason}`);
    }
  }
}
