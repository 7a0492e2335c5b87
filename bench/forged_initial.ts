// First datagrams of QUIC connections that nobody wants to make: a real client's first datagram is opened and sealed again for another
// connection, as often as asked for (RFC 9001 section 5: whoever knows the version can). It sends nothing.

import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";

/** Salt of the first packets of QUIC version 1 (RFC 9001 section 5.2). */
const SALT = Uint8Array.fromHex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a");
const TAG_BYTES = 16;
const SAMPLE_BYTES = 16;
/** A packet number that is sampled has four bytes at most, and the sample begins behind them. */
const SAMPLE_OFFSET = 4;

/** Keys of one connection's first packets from the client. */
interface Keys {
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  readonly hp: Uint8Array;
}

/** One first datagram, opened. */
interface Opened {
  /** The header without its protection, the packet number included. */
  readonly header: Uint8Array<ArrayBuffer>;
  readonly numberAt: number;
  readonly numberBytes: number;
  readonly packetNumber: number;
  readonly payload: Uint8Array;
  /** What follows the packet inside the datagram. */
  readonly rest: Uint8Array;
}

/** Makes first datagrams after the model of one. */
export class Forger {
  readonly #opened: Opened;

  /** @param flight A client's first datagram, whose first packet is an Initial packet. */
  constructor(flight: Uint8Array<ArrayBuffer>) {
    this.#opened = open(flight);
  }

  /** A first datagram of a connection that its number names: of another for each number. */
  forge(number: number): Uint8Array<ArrayBuffer> {
    const { header, numberAt, numberBytes, packetNumber, payload, rest } = this.#opened;
    const sealed = header.slice();
    new DataView(sealed.buffer).setUint32(6, number);
    const { key, iv, hp } = keysOf(sealed.subarray(6, 6 + sealed[5]!));
    const cipher = createCipheriv("aes-128-gcm", key, nonceOf(iv, packetNumber));
    cipher.setAAD(sealed);
    const body = new Uint8Array(payload.length + TAG_BYTES);
    body.set(cipher.update(payload));
    cipher.final();
    body.set(cipher.getAuthTag(), payload.length);
    const datagram = new Uint8Array(sealed.length + body.length + rest.length);
    datagram.set(sealed);
    datagram.set(body, sealed.length);
    datagram.set(rest, sealed.length + body.length);
    const mask = maskOf(hp, datagram, numberAt);
    datagram[0]! ^= mask[0]! & 0x0f;
    for (let i = 0; i < numberBytes; i++) datagram[numberAt + i]! ^= mask[1 + i]!;
    return datagram;
  }
}

function open(flight: Uint8Array<ArrayBuffer>): Opened {
  const bytes = flight.slice();
  // Long header, fixed bit, type 0 (RFC 9000 section 17.2.2).
  if ((bytes[0]! & 0xf0) !== 0xc0 || bytes[5]! < 8) throw new Error("not a first datagram");
  const { key, iv, hp } = keysOf(bytes.subarray(6, 6 + bytes[5]!));
  let at = 6 + bytes[5]!;
  at += 1 + bytes[at]!;
  const varint = (): number => {
    const length = 1 << (bytes[at]! >> 6);
    let value = bytes[at]! & 0x3f;
    for (let i = 1; i < length; i++) value = value * 256 + bytes[at + i]!;
    at += length;
    return value;
  };
  const tokenBytes = varint();
  at += tokenBytes;
  const length = varint();
  const mask = maskOf(hp, bytes, at);
  bytes[0]! ^= mask[0]! & 0x0f;
  const numberBytes = (bytes[0]! & 3) + 1;
  let packetNumber = 0;
  for (let i = 0; i < numberBytes; i++) {
    bytes[at + i]! ^= mask[1 + i]!;
    packetNumber = packetNumber * 256 + bytes[at + i]!;
  }
  const header = bytes.slice(0, at + numberBytes);
  const end = at + length;
  const decipher = createDecipheriv("aes-128-gcm", key, nonceOf(iv, packetNumber));
  decipher.setAAD(header);
  decipher.setAuthTag(bytes.subarray(end - TAG_BYTES, end));
  const payload = new Uint8Array(decipher.update(bytes.subarray(header.length, end - TAG_BYTES)));
  decipher.final();
  const rest = bytes.slice(end);
  return { header, numberAt: at, numberBytes, packetNumber, payload, rest };
}

function keysOf(connectionId: Uint8Array): Keys {
  const initial = hmac(SALT, connectionId);
  const client = expand(initial, "client in", 32);
  return {
    key: expand(client, "quic key", 16),
    iv: expand(client, "quic iv", 12),
    hp: expand(client, "quic hp", 16),
  };
}

/** HKDF-Expand-Label with no context, for at most one block (RFC 8446 section 7.1). */
function expand(secret: Uint8Array, label: string, length: number): Uint8Array {
  const name = new TextEncoder().encode(`tls13 ${label}`);
  const info = Uint8Array.of(0, length, name.length, ...name, 0, 1);
  return hmac(secret, info).subarray(0, length);
}

function hmac(key: Uint8Array, data: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha256", key).update(data).digest());
}

function nonceOf(iv: Uint8Array, packetNumber: number): Uint8Array {
  const nonce = iv.slice();
  const view = new DataView(nonce.buffer);
  view.setUint32(8, view.getUint32(8) ^ packetNumber);
  return nonce;
}

function maskOf(hp: Uint8Array, bytes: Uint8Array, numberAt: number): Uint8Array {
  const from = numberAt + SAMPLE_OFFSET;
  const cipher = createCipheriv("aes-128-ecb", hp, null);
  cipher.setAutoPadding(false);
  const mask = new Uint8Array(cipher.update(bytes.subarray(from, from + SAMPLE_BYTES)));
  cipher.final();
  return mask;
}
