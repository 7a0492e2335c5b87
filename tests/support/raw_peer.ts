// A peer that speaks the network protocol itself, well or badly, against a real server core: for everything that a client's driver and
// engine would never let out.

import { CloseCode } from "../../protocol/close_codes.ts";
import { ControlFrames, encodeControlFrame } from "../../protocol/control_frames.ts";
import {
  type AcceptedMessage,
  type ControlMessage,
  decodeControl,
  encodeControl,
  type JoinMessage,
} from "../../protocol/control_messages.ts";
import { AckTracker } from "../../protocol/ack_tracker.ts";
import {
  readHeader,
  readSections,
  SectionType,
  writeHeader,
  writeSection,
} from "../../protocol/datagram.ts";
import { PROTOCOL_VERSION } from "../../protocol/limits.ts";
import { Reader } from "../../protocol/reader.ts";
import { unwrap16 } from "../../protocol/sequence.ts";
import { SUBTICKS, tickOf } from "../../protocol/timeline_units.ts";
import { Writer } from "../../protocol/writer.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { writeGamma } from "../../replication/gamma.ts";
import { GRANT_EPOCH_BITS, sectionWidths, STATE_BITS } from "../../replication/section_layout.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { World } from "../../replication/world.ts";
import type { CloseInfo, Connection, Stream } from "../../transport/connection.ts";
import { type VoiceFrame, VoiceSectionWriter } from "../../voice/voice_section.ts";
import type { Pair } from "./pair.ts";
import { TappedConnection } from "./tapped_connection.ts";

/** Sections of a datagram to send. */
export interface RawSections {
  readonly snapshot?: Uint8Array;
  readonly voice?: Uint8Array;
  readonly channels?: readonly Uint8Array[];
}

/** See the head of this file. */
export class RawPeer {
  readonly pair: Pair;
  readonly connection: Connection;
  readonly control: Stream;
  /** Control messages received. */
  readonly messages: ControlMessage[] = [];
  /** Datagrams received. */
  readonly datagrams: Uint8Array[] = [];
  /** Bytes that the server gave to the transport for this peer. */
  bytesFromServer = 0;
  closed: CloseInfo | undefined;
  accepted: AcceptedMessage | undefined;
  sequence = 0;
  /** Acknowledge what comes. */
  acknowledges = true;
  readonly #acks = new AckTracker();
  #joinedMs = 0;

  /** Connects; `hook` may stand before the server's end. */
  constructor(pair: Pair, hook: (acceptor: Connection) => Connection = (acceptor) => acceptor) {
    this.pair = pair;
    const { network } = pair;
    const link = network.connect(pair.conditions);
    this.connection = link.connector;
    const acceptor = new TappedConnection(
      hook(link.acceptor),
      (bytes) => this.bytesFromServer += bytes.length,
      pair.binding,
    );
    pair.server.core.handleConnection(acceptor, network.now);
    this.connection.start({
      handleDatagram: (bytes) => this.#handleDatagram(bytes),
      handleStream: () => {},
      handleClosed: (info) => {
        this.closed = info;
      },
    });
    this.control = this.connection.openStream();
    const frames = new ControlFrames();
    this.control.setHandler({
      handleData: (bytes) => {
        frames.handleBytes(bytes);
        for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
          const result = decodeControl(frame, "fromAuthority");
          if (!result.ok) throw new Error(`the server sent a fault: ${result.fault}`);
          this.messages.push(result.message);
          if (result.message.kind === "accepted") {
            this.accepted = result.message;
            this.#joinedMs = network.now;
          }
        }
      },
      handleEnd: () => {},
      handleReset: () => {},
      handleWritable: () => {},
    });
  }

  /** Sends a join and waits for the answer. */
  join(changes: Partial<JoinMessage> = {}): this {
    this.tell({
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(this.pair.grants.schemaHash),
      credential: "none",
      resume: undefined,
      ...changes,
    });
    this.pair.until(
      "an answer to the join",
      () => this.messages.length > 0 || this.closed !== undefined,
    );
    return this;
  }

  /** Messages of one kind. */
  of<K extends ControlMessage["kind"]>(kind: K): Extract<ControlMessage, { kind: K }>[] {
    return this.messages.filter((message) => message.kind === kind) as Extract<
      ControlMessage,
      { kind: K }
    >[];
  }

  /** Sends a control message. */
  tell(message: ControlMessage): void {
    this.control.write(encodeControlFrame(encodeControl(message)));
  }

  /** The present timeline time, as an honest client would estimate it. */
  get time(): number {
    const { network, grants } = this.pair;
    const units = grants.tickHz * SUBTICKS / 1000;
    return Math.floor(this.accepted!.time + (network.now - this.#joinedMs + 20) * units);
  }

  /** The bytes of a datagram with the next sequence number. */
  datagram(
    sections: RawSections,
    header: { readonly sequence?: number; readonly time?: number; readonly worldEpoch?: number } =
      {},
  ): Uint8Array {
    const w = new Writer(1_500);
    const sequence = header.sequence ?? this.sequence++;
    writeHeader(w, {
      sequence,
      worldEpoch: header.worldEpoch ?? this.accepted!.worldEpoch,
      time: header.time ?? this.time,
      ack: this.acknowledges ? this.#acks.writeBlock(this.pair.network.now) : undefined,
    });
    if (sections.snapshot !== undefined) writeSection(w, SectionType.Snapshot, sections.snapshot);
    if (sections.voice !== undefined) writeSection(w, SectionType.Voice, sections.voice);
    for (const body of sections.channels ?? []) writeSection(w, SectionType.Channel, body);
    return w.finish();
  }

  /** Sends bytes as a datagram. */
  send(bytes: Uint8Array): void {
    this.connection.sendDatagram(bytes);
  }

  /** Ends with a goodbye. */
  bye(): void {
    this.tell({ kind: "bye", code: CloseCode.Normal, reason: "" });
  }

  #handleDatagram(bytes: Uint8Array): void {
    this.datagrams.push(bytes);
    const reader = new Reader(bytes);
    const header = readHeader(reader);
    if (header === undefined) throw new Error("the server sent a bad header");
    const sequence = unwrap16(header.sequence, Math.max(0, this.#acks.largest));
    const sections = readSections(reader);
    const asks = sections?.snapshot !== undefined;
    this.#acks.handleReceived(sequence, this.pair.network.now, asks);
  }
}

/** A state sender of a peer that keeps to no rights: every component is its to write, as far as its own tables say. */
export class ForgedState {
  readonly grants: Grants;
  readonly world: World;
  readonly sender: SnapshotSender;
  readonly #peer: RawPeer;
  readonly #writer = new Writer(1_500);
  #tick = 0;

  /** `fieldsOf` says which fields of a component it claims to write; all, where left out. */
  constructor(
    peer: RawPeer,
    fieldsOf: (component: ComponentGrant) => number = ({ allFields }) => allFields,
  ) {
    const { grants } = peer.pair;
    this.#peer = peer;
    this.grants = {
      ...grants,
      components: grants.components.map((component) => ({
        ...component,
        authority: "owner",
        writeMasks: component.writeMasks.map(() => fieldsOf(component)),
        spawnRoles: 0x7fff_ffff,
        rateHz: 240,
        hostSendMask: component.allFields,
      })),
    };
    this.world = new World(this.grants);
    this.sender = new SnapshotSender({
      grants: this.grants,
      world: this.world,
      peer: peer.accepted!.peer,
      roleIndex: 1,
      direction: "up",
    });
    this.sender.grantEpoch = peer.accepted!.grantEpoch;
  }

  /** Tick that the next writes belong to. */
  get tick(): number {
    return Math.max(this.#tick + 1, tickOf(this.#peer.time));
  }

  /** The body of a section with what is due; undefined when nothing is. */
  section(): Uint8Array | undefined {
    const tick = this.tick;
    this.#tick = tick;
    this.#writer.clear();
    const { sequence } = this.#peer;
    if (!this.sender.writeSection(this.#writer, 8_000, tick, sequence)) return undefined;
    return this.#writer.finish();
  }

  /** One datagram with what is due; undefined when nothing is. */
  datagram(): Uint8Array | undefined {
    const snapshot = this.section();
    if (snapshot === undefined) return undefined;
    return this.#peer.datagram({ snapshot }, { time: this.#tick * SUBTICKS + SUBTICKS / 2 });
  }

  /** Sends what is due, and lets some time pass. */
  send(ms = 100): void {
    const bytes = this.datagram();
    if (bytes === undefined) throw new Error("there is nothing to send");
    this.#peer.send(bytes);
    this.#peer.pair.run(ms);
  }
}

/** The body of a voice section. */
export function voiceBody(time: number, frames: readonly VoiceFrame[]): Uint8Array {
  const writer = new VoiceSectionWriter();
  writer.begin(time);
  for (const frame of frames) writer.tryAdd(frame, 1_400);
  return writer.finish();
}

/** Components, by index, that a header lists as shown. */
export interface ListedComponents {
  readonly grants: Grants;
  readonly components: readonly number[];
}

function headers(
  grantEpoch: number,
  ids: readonly number[],
  owner: number | undefined,
  listed?: ListedComponents,
): Uint8Array {
  const w = new Writer(1_500);
  w.bits(grantEpoch, GRANT_EPOCH_BITS);
  let previous = 0;
  for (const id of ids) {
    w.bool(true);
    writeGamma(w, id - previous);
    previous = id;
    w.bool(true);
    w.bits(owner === undefined ? 2 : 0, STATE_BITS);
    if (owner === undefined) continue;
    w.u16(owner);
    w.u8(0);
    // No value of a component that is listed follows.
    for (const component of listed?.components ?? []) {
      w.bool(true);
      w.bits(component, sectionWidths(listed!.grants).component);
      w.bool(false);
    }
    w.bool(false);
    w.bool(false);
  }
  w.bool(false);
  return w.finish();
}

/** A snapshot section that says of entities, ascending, that they live, with which components (none if left out), and who owns them. */
export function aliveHeaders(
  grantEpoch: number,
  ids: readonly number[],
  owner: number,
  listed?: ListedComponents,
): Uint8Array {
  return headers(grantEpoch, ids, owner, listed);
}

/** A snapshot section that says of entities, ascending, that they have ended. */
export function goneHeaders(grantEpoch: number, ids: readonly number[]): Uint8Array {
  return headers(grantEpoch, ids, undefined);
}
