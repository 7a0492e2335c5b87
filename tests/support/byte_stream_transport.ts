// A fourth transport, for tests alone: everything a connection does, over one ordered stream of bytes in memory, as a WebSocket or a pipe
// would carry it. It proves that the transport interface asks for nothing such a backend cannot give.

import { assert } from "../../protocol/assert.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  MAX_APPLICATION_CODE,
  MAX_CLOSE_REASON_BYTES,
  MAX_DATAGRAM_BYTES,
} from "../../protocol/limits.ts";
import type { Prng } from "../../protocol/prng.ts";
import { Reader } from "../../protocol/reader.ts";
import { Writer } from "../../protocol/writer.ts";
import type { ConnectionPair, Schedule } from "../../transport/loopback.ts";
import { type Carrier, MuxConnection } from "../../transport/mux_connection.ts";
import { FrameKind, type MuxFrame } from "../../transport/mux_frame.ts";

/** Kind byte of a datagram; the others are those of `FrameKind`. */
const DATAGRAM = 5;
const MAX_DATA_BYTES = 16_384;
const MAX_FRAME_BYTES = MAX_DATA_BYTES + 16;
/** Bytes in the pipe above which streams wait. */
const PIPE_FULL_BYTES = 65_536;
/** Bytes in the pipe above which datagrams are dropped: more, so that streams leave them room. */
const DATAGRAM_FULL_BYTES = 131_072;

/** `[u32 length][u8 kind][body]` of a frame. */
export function encodeFrame(frame: MuxFrame): Uint8Array {
  const body = new Writer(64);
  body.u8(frame.kind);
  switch (frame.kind) {
    case FrameKind.Data:
      body.u32(frame.stream);
      body.bytes(frame.bytes);
      break;
    case FrameKind.End:
      body.u32(frame.stream);
      break;
    case FrameKind.Reset:
      body.u32(frame.stream);
      body.u32(frame.code);
      break;
    case FrameKind.Credit:
      body.u32(frame.stream);
      body.u32(frame.total % 0x1_0000_0000);
      body.u32(Math.floor(frame.total / 0x1_0000_0000));
      break;
    case FrameKind.Close:
      body.u32(frame.code);
      body.bytes(new TextEncoder().encode(frame.reason));
  }
  return withLength(body);
}

function encodeDatagram(bytes: Uint8Array): Uint8Array {
  const body = new Writer(bytes.length + 8);
  body.u8(DATAGRAM);
  body.bytes(bytes);
  return withLength(body);
}

function withLength(body: Writer): Uint8Array {
  const whole = new Writer(body.byteLength + 4);
  whole.u32(body.byteLength);
  whole.bytes(body.view());
  return whole.finish();
}

/** A frame's body as a value, or what is wrong with it. A datagram is its bytes. */
export function decodeFrame(body: Uint8Array): MuxFrame | Uint8Array | Fault {
  const reader = new Reader(body);
  const kind = reader.u8();
  if (kind === DATAGRAM && reader.fault === undefined) {
    return body.length - 1 > MAX_DATAGRAM_BYTES ? Fault.OutOfRange : body.slice(1);
  }
  let frame: MuxFrame | undefined;
  switch (kind) {
    case FrameKind.Data: {
      const stream = reader.u32();
      frame = { kind, stream, bytes: reader.bytes(reader.remainingBits >>> 3).slice() };
      break;
    }
    case FrameKind.End:
      frame = { kind, stream: reader.u32() };
      break;
    case FrameKind.Reset:
      frame = { kind, stream: reader.u32(), code: readCode(reader) };
      break;
    case FrameKind.Credit:
      frame = { kind, stream: reader.u32(), total: reader.u32() + reader.u32() * 0x1_0000_0000 };
      break;
    case FrameKind.Close: {
      const code = readCode(reader);
      const text = reader.bytes(reader.remainingBits >>> 3);
      if (text.length > MAX_CLOSE_REASON_BYTES) reader.fail(Fault.OutOfRange);
      frame = { kind, code, reason: new TextDecoder().decode(text) };
    }
  }
  return reader.finish() ?? frame ?? Fault.UnknownKind;
}

function readCode(reader: Reader): number {
  const code = reader.u32();
  if (code > MAX_APPLICATION_CODE) reader.fail(Fault.OutOfRange);
  return code;
}

/** One direction: bytes in order, handed on in pieces of any size. */
class BytePipe {
  readonly #schedule: Schedule;
  readonly #prng: Prng;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #scheduled = false;
  /** Takes the bytes at the other end. */
  receive: (bytes: Uint8Array) => void = () => {};
  /** Called when a full pipe has room again. */
  ready: () => void = () => {};

  constructor(schedule: Schedule, prng: Prng) {
    this.#schedule = schedule;
    this.#prng = prng;
  }

  get isFull(): boolean {
    return this.#bytes >= PIPE_FULL_BYTES;
  }

  get isFullForDatagrams(): boolean {
    return this.#bytes >= DATAGRAM_FULL_BYTES;
  }

  write(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#bytes += bytes.length;
    this.#move();
  }

  #move(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => {
      this.#scheduled = false;
      const chunk = this.#chunks.shift();
      if (chunk === undefined) return;
      // Now whole, now a few bytes: a reader that counts on frames arriving whole fails at once.
      const size = this.#prng.chance(0.5)
        ? chunk.length
        : 1 + this.#prng.nextBelow(Math.min(chunk.length, 5_000));
      const now = chunk.subarray(0, size);
      if (size < chunk.length) this.#chunks.unshift(chunk.subarray(size));
      const wasFull = this.isFull;
      this.#bytes -= now.length;
      this.receive(now);
      if (wasFull && !this.isFull) this.ready();
      if (this.#chunks.length > 0) this.#move();
    });
  }
}

class ByteStreamCarrier implements Carrier {
  readonly maxDatagramSize = 1_200;
  readonly maxDataBytes = MAX_DATA_BYTES;
  readonly #schedule: Schedule;
  readonly #out: BytePipe;

  constructor(schedule: Schedule, out: BytePipe) {
    this.#schedule = schedule;
    this.#out = out;
  }

  get isReady(): boolean {
    return !this.#out.isFull;
  }

  sendDatagram(bytes: Uint8Array): boolean {
    if (this.#out.isFullForDatagrams) return false;
    this.#out.write(encodeDatagram(bytes));
    return true;
  }

  sendFrame(frame: MuxFrame): void {
    this.#out.write(encodeFrame(frame));
  }

  defer(action: () => void): void {
    this.#schedule(action);
  }

  release(): void {}
}

/** Cuts a byte stream into frames for a connection. */
class FrameReader {
  #buffer = new Uint8Array(0);
  #connection: MuxConnection;

  constructor(connection: MuxConnection) {
    this.#connection = connection;
  }

  receive(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.#buffer.length + bytes.length);
    joined.set(this.#buffer);
    joined.set(bytes, this.#buffer.length);
    let at = 0;
    while (joined.length - at >= 4 && !this.#connection.isOver) {
      const length = new Reader(joined, at).u32();
      if (length > MAX_FRAME_BYTES) {
        this.#connection.handleFault(Fault.OutOfRange);
        return;
      }
      if (joined.length - at - 4 < length) break;
      this.#take(decodeFrame(joined.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    this.#buffer = joined.slice(at);
  }

  #take(frame: MuxFrame | Uint8Array | Fault): void {
    if (frame instanceof Uint8Array) this.#connection.handleDatagram(frame);
    else if (typeof frame === "number") this.#connection.handleFault(frame);
    else this.#connection.handleFrame(frame);
  }
}

/** Two connected ends over two byte pipes, and a way to put foreign bytes into the acceptor's. */
export interface ByteStreamPair extends ConnectionPair {
  /** Bytes as a broken or hostile connector would send them. */
  inject(bytes: Uint8Array): void;
}

/** Two connected ends; bytes move when `schedule` runs what it was given, in pieces that `prng` draws. */
export function createByteStreamPair(schedule: Schedule, prng: Prng): ByteStreamPair {
  const up = new BytePipe(schedule, prng);
  const down = new BytePipe(schedule, prng);
  const options = { label: "byte stream", channelBinding: new Uint8Array(32).fill(7) };
  const connector = new MuxConnection(new ByteStreamCarrier(schedule, up), {
    ...options,
    isConnector: true,
  });
  const acceptor = new MuxConnection(new ByteStreamCarrier(schedule, down), {
    ...options,
    isConnector: false,
  });
  const upReader = new FrameReader(acceptor);
  const downReader = new FrameReader(connector);
  up.receive = (bytes) => upReader.receive(bytes);
  down.receive = (bytes) => downReader.receive(bytes);
  up.ready = () => connector.handleReady();
  down.ready = () => acceptor.handleReady();
  return {
    connector,
    acceptor,
    inject: (bytes) => {
      assert(bytes.length > 0, "there is something to inject");
      up.write(bytes);
    },
  };
}
