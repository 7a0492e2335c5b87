// One end of one link between two drivers, as a listener sees it: everything that went in and out, in order, read by docs/PROTOCOL.md alone.
// It knows what that end knows (numbers received, the newest tick, the grant epoch) and so checks what that end says of it.

import { Malformed, rule, unwrap16 } from "./bits.ts";
import { type Adjustment, ChannelHalf, type Control, ControlHalf } from "./control.ts";
import { readDatagram, readUnreliable, readVoice, type VoiceFrame } from "./datagram.ts";
import type { UnreliableMessage } from "./datagram.ts";
import { type Arrival, SnapshotReceiver } from "./snapshot.ts";
import type { World } from "./world.ts";

/** One thing that passed at an end. `stream` numbers streams by opening at this end; `opened` says by whom. */
export type Passed =
  & { readonly atMs: number; readonly way: "in" | "out" }
  & (
    | { readonly kind: "datagram"; readonly bytes: Uint8Array }
    | { readonly kind: "open"; readonly stream: number }
    | { readonly kind: "data"; readonly stream: number; readonly bytes: Uint8Array }
    | { readonly kind: "end"; readonly stream: number }
    | { readonly kind: "reset"; readonly stream: number; readonly code: number }
  );

/** A voice frame with whole times. */
export interface HeardFrame extends VoiceFrame {
  /** Sub-ticks. */
  readonly time: number;
}

/** A channel's stream at this end. */
export interface ChannelStream {
  readonly isOurs: boolean;
  readonly opener: ChannelHalf;
  /** Made when the preamble is known. */
  answers: ChannelHalf | undefined;
}

/** An acknowledgement as it stands, with whole numbers. */
export interface HeldAck {
  readonly largest: number;
  readonly acknowledged: readonly number[];
}

interface Got {
  readonly atMs: number;
  readonly hasSections: boolean;
}

/** One end. */
export class DriverEnd {
  readonly controlIn: Control[] = [];
  readonly controlOut: Control[] = [];
  readonly arrivals: Arrival[] = [];
  readonly voice: HeardFrame[] = [];
  readonly messages: UnreliableMessage[] = [];
  readonly channels = new Map<number, ChannelStream>();
  /** Datagrams in that were dropped, by reason. */
  readonly dropped = new Map<string, number>();
  /** Numbers of datagrams taken. */
  readonly received = new Map<number, Got>();
  /** What the other end says it took of ours. */
  readonly acknowledgedByPeer = new Set<number>();
  /** Acknowledgements that this end sent, by number of the datagram that carried it. */
  readonly acksSent = new Map<number, HeldAck>();
  readonly snapshots: SnapshotReceiver;
  /** Grant epoch of the client of this link. */
  grantEpoch = 0;
  /** By component index. */
  readonly #adjustments = new Map<number, Adjustment>();
  /** Role index of that client. */
  role = 0;
  peer = -1;
  worldEpoch = -1;
  /** Datagrams out. */
  sent = 0;
  /** Largest header seen, bytes. */
  largestHeader = 0;
  readonly #world: World;
  readonly #isAuthority: boolean;
  readonly #in: ControlHalf;
  readonly #out: ControlHalf;
  #controlStream: number | undefined;
  #newestIn = -1;
  #newestTick = 0;

  /** Nothing has passed yet. */
  constructor(world: World, isAuthority: boolean) {
    this.#world = world;
    this.#isAuthority = isAuthority;
    this.snapshots = new SnapshotReceiver(world, isAuthority ? "up" : "down");
    this.#in = new ControlHalf(world, isAuthority ? "towards" : "from");
    this.#out = new ControlHalf(world, isAuthority ? "from" : "towards");
  }

  /** Takes the next thing that passed. */
  pass(passed: Passed): void {
    switch (passed.kind) {
      case "datagram":
        if (passed.way === "in") this.#datagramIn(passed.bytes, passed.atMs);
        else this.#datagramOut(passed.bytes, passed.atMs);
        break;
      case "open":
        this.#open(passed.stream, passed.way === "out");
        break;
      case "data":
        this.#data(passed.stream, passed.way === "out", passed.bytes);
        break;
      case "end":
      case "reset":
        break;
    }
  }

  // ---- streams

  #open(stream: number, isOurs: boolean): void {
    // The first stream that the connecting side opens is the control stream; in the first form that is the side without authority.
    if (this.#controlStream === undefined && isOurs !== this.#isAuthority) {
      this.#controlStream = stream;
      return;
    }
    const opener = new ChannelHalf(this.#world, true);
    this.channels.set(stream, { isOurs, opener, answers: undefined });
  }

  #data(stream: number, isOut: boolean, bytes: Uint8Array): void {
    if (stream === this.#controlStream) {
      const messages = (isOut ? this.#out : this.#in).read(bytes);
      (isOut ? this.controlOut : this.controlIn).push(...messages);
      for (const message of messages) this.#control(message);
      return;
    }
    const channel = this.channels.get(stream)!;
    if (isOut === channel.isOurs) return channel.opener.read(bytes);
    channel.answers ??= new ChannelHalf(this.#world, false, channel.opener.maxBytes);
    channel.answers.read(bytes);
  }

  #control(message: Control): void {
    if (message.kind === "accepted") {
      this.peer = message.peer;
      this.grantEpoch = message.grantEpoch;
      this.worldEpoch = message.worldEpoch;
      this.role = this.#roleIndex(message.role);
      for (const one of message.adjustments) this.#adjust(one);
      this.#newestTick = Math.floor(message.time / 64);
    }
    if (message.kind === "role" && message.peer === this.peer) {
      const before = this.#masks();
      this.role = this.#roleIndex(message.role);
      this.#raise(message.grantEpoch, before);
    }
    if (message.kind === "grants") {
      const before = this.#masks();
      this.#adjust(message.adjustment);
      this.#raise(message.grantEpoch, before);
    }
  }

  #adjust(one: Adjustment): void {
    const index = this.#world.components.findIndex((c) => c.id === one.component);
    const component = this.#world.components[index];
    rule(component !== undefined, "UnknownId", `component ${one.component}`);
    const all = one.readGranted | one.readRevoked | one.writeGranted | one.writeRevoked;
    rule(all < 2 ** component.fields.length, "OutOfRange", "a field that is not declared");
    const beyond = (one.readGranted & ~component.grantableRead) |
      (one.writeGranted & ~component.grantableWrite);
    rule(beyond === 0, "Forbidden", "a grant beyond what is grantable");
    this.#adjustments.set(index, one);
  }

  #raise(grantEpoch: number, before: readonly (readonly [number, number])[]): void {
    rule(grantEpoch === (this.grantEpoch + 1) % 256, "NonCanonical", "grant epoch");
    this.grantEpoch = grantEpoch;
    const now = this.#masks();
    const isVoid = before.map(([own, other], i) => own !== now[i]![0] || other !== now[i]![1]);
    this.snapshots.forget([...isVoid.keys()].filter((i) => isVoid[i]));
  }

  /** Fields that pass on this end's incoming way by the rights of the moment: of the peer's own entities, and of others. */
  #masks(): [number, number][] {
    return this.#world.components.map((c, i) => {
      const one = this.#adjustments.get(i);
      if (this.#isAuthority) {
        if (c.authority !== "owner") return [0, 0];
        const mask = c.writeMasks[this.role]! & ~(one?.writeRevoked ?? 0);
        return [mask | (one?.writeGranted ?? 0), 0];
      }
      const role = c.readMasks[this.role]!;
      const [own, other] = [role | c.ownerReadMask, role].map((mask) =>
        (mask & ~(one?.readRevoked ?? 0)) | (one?.readGranted ?? 0)
      );
      return [own!, other!];
    });
  }

  #roleIndex(id: number): number {
    const index = this.#world.roles.findIndex((role) => role.id === id);
    rule(index >= 0, "UnknownId", `role ${id}`);
    return index;
  }

  // ---- datagrams

  #datagramIn(bytes: Uint8Array, atMs: number): void {
    let drop: string | undefined;
    try {
      drop = this.#read(bytes, atMs);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      drop = error.message;
    }
    if (drop !== undefined) this.dropped.set(drop, (this.dropped.get(drop) ?? 0) + 1);
  }

  #read(bytes: Uint8Array, atMs: number): string | undefined {
    const datagram = readDatagram(bytes);
    const sequence = unwrap16(datagram.sequence, Math.max(this.#newestIn, 0));
    if (sequence < 0 || this.received.has(sequence)) return "repeated";
    if (sequence < this.#newestIn - 511) return "repeated";
    if (datagram.worldEpoch !== this.worldEpoch % 8) return "world epoch";
    const tick = unwrap16(datagram.tick, this.#newestTick);
    rule(tick >= 0, "OutOfRange", "tick");
    const time = tick * 64 + datagram.subTick;
    const acknowledged = datagram.ack === undefined
      ? undefined
      : wholeAck(datagram.ack, this.sent - 1).acknowledged;
    for (const number of acknowledged ?? []) {
      rule(number < this.sent && number >= 0, "Unexpected", `acknowledgement of ${number}`);
    }
    const body = (type: number) => datagram.sections.filter((s) => s.type === type);
    const voice = body(2).flatMap((s) => readVoice(s.body));
    for (const frame of voice) rule(time - frame.age >= 0, "OutOfRange", "age");
    const messages = body(3).map((s) => readUnreliable(s.body, this.#world));
    const snapshot = body(1)[0]?.body;
    if (snapshot !== undefined) {
      const refusal = this.snapshots.accepts(snapshot, tick, this.grantEpoch);
      if (refusal !== undefined) return refusal;
      const section = this.snapshots.read(snapshot, tick);
      this.arrivals.push(...this.snapshots.hold(section, tick));
    }
    this.voice.push(...voice.map((frame) => ({ ...frame, time: time - frame.age })));
    this.messages.push(...messages);
    this.received.set(sequence, { atMs, hasSections: datagram.sections.length > 0 });
    this.#newestIn = Math.max(this.#newestIn, sequence);
    this.#newestTick = Math.max(this.#newestTick, tick);
    for (const number of acknowledged ?? []) this.acknowledgedByPeer.add(number);
    return undefined;
  }

  /** What this end sends must be readable, and its acknowledgement must be the truth about what it took. */
  #datagramOut(bytes: Uint8Array, atMs: number): void {
    const datagram = readDatagram(bytes);
    rule(datagram.sequence === this.sent % 65_536, "NonCanonical", `number ${datagram.sequence}`);
    rule(datagram.worldEpoch === this.worldEpoch % 8, "WrongEpoch", "world epoch");
    this.largestHeader = Math.max(this.largestHeader, datagram.headerBytes);
    this.sent += 1;
    if (datagram.ack === undefined) {
      rule(this.received.size === 0, "NonCanonical", "no acknowledgement");
      return;
    }
    const { largest, acknowledged } = wholeAck(datagram.ack, this.#newestIn);
    rule(largest === this.#newestIn, "NonCanonical", `largest ${largest}, not ${this.#newestIn}`);
    const truth = [...this.received.keys()].filter((n) => n > largest - 256).sort((a, b) => b - a);
    rule(
      `${acknowledged}` === `${truth}`,
      "NonCanonical",
      `acknowledged ${acknowledged}: ${truth}`,
    );
    const heldMs = atMs - this.received.get(largest)!.atMs;
    const delay = Math.min(65_535, Math.floor(heldMs * 8 + 1e-6));
    rule(datagram.ack.delay === delay, "NonCanonical", `delay ${datagram.ack.delay}, not ${delay}`);
    this.acksSent.set(this.sent - 1, { largest, acknowledged });
  }
}

function wholeAck(
  ack: { largest: number; distances: readonly number[] },
  newest: number,
): HeldAck {
  const largest = unwrap16(ack.largest, Math.max(newest, 0));
  return { largest, acknowledged: ack.distances.map((distance) => largest - distance) };
}
