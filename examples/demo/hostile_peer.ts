// A peer that speaks the network protocol itself, without a driver: it joins as anyone may, spawns an avatar so that it is shown the
// room, then tries to write what is not its own. All it receives is kept, for the search of what it must not have.

import { ControlFrames, encodeControlFrame } from "../../protocol/control_frames.ts";
import {
  type ControlMessage,
  decodeControl,
  encodeControl,
} from "../../protocol/control_messages.ts";
import { AckTracker } from "../../protocol/ack_tracker.ts";
import { readHeader, SectionType, writeHeader, writeSection } from "../../protocol/datagram.ts";
import type { EntityId } from "../../protocol/entity_id.ts";
import { PROTOCOL_VERSION } from "../../protocol/limits.ts";
import { Reader } from "../../protocol/reader.ts";
import { unwrap16 } from "../../protocol/sequence.ts";
import { SUBTICKS, type TimelineTime } from "../../protocol/timeline_units.ts";
import { Writer } from "../../protocol/writer.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { FieldCodec } from "../../replication/field_codec.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { createValue } from "../../replication/value.ts";
import { World } from "../../replication/world.ts";
import { quantiseValues } from "../../engine/values.ts";
import type { ComponentValues } from "../../engine/mod.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { VoiceKind, VoiceSectionWriter, voiceTagOf } from "../../voice/voice_section.ts";

/** Components as a liar would have them: whoever owns an entity writes all of it. */
function everythingGranted(grants: Grants): Grants {
  const components = grants.components.map((component): ComponentGrant => ({
    ...component,
    authority: "owner",
    writeMasks: component.writeMasks.map(() => component.allFields),
    rateHz: 1_000,
  }));
  return { ...grants, components };
}

/** One hostile peer on one connection. */
export class HostilePeer {
  /** Every byte of plaintext that it was sent, streams and datagrams. */
  readonly received: Uint8Array[] = [];
  readonly #grants: Grants;
  readonly #connection: Connection;
  readonly #control: Stream;
  readonly #acks = new AckTracker();
  readonly #joined = Promise.withResolvers<void>();
  readonly #now: () => number;
  #accepted: Extract<ControlMessage, { kind: "accepted" }> | undefined;
  #acceptedMs = 0;
  #sequence = 0;
  #honest: { world: World; sender: SnapshotSender } | undefined;
  #avatar: EntityId = 0;
  /** Refusals that the server told it. */
  readonly denied: string[] = [];
  /** Why its join was refused, if it was. */
  refusal: string | undefined;
  /** Whether the server ended the connection. */
  closed = false;

  /** Joins over an open connection; `resume` claims an earlier place. */
  constructor(
    grants: Grants,
    connection: Connection,
    now: () => number,
    resume?: { peer: number; secret: Uint8Array },
  ) {
    this.#grants = grants;
    this.#connection = connection;
    this.#now = now;
    connection.start({
      handleDatagram: (bytes) => this.#handleDatagram(bytes),
      handleStream: (stream) => stream.reset(0),
      handleClosed: (info) => {
        this.closed = true;
        // The refusal on the stream may be cut off by the close, which says the same.
        if (this.#accepted === undefined) this.refusal ??= info.reason;
        this.#joined.resolve();
      },
    });
    this.#control = connection.openStream();
    const frames = new ControlFrames();
    this.#control.setHandler({
      handleData: (bytes) => {
        this.received.push(bytes.slice());
        frames.handleBytes(bytes);
        for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
          const result = decodeControl(frame, "fromAuthority");
          if (result.ok) this.#handleControl(result.message);
        }
      },
      handleEnd: () => {},
      handleReset: () => {},
      handleWritable: () => {},
    });
    this.#tell({
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(grants.schemaHash),
      credential: "none",
      resume,
    });
  }

  /** Resolves when the join was answered one way or the other. */
  get answered(): Promise<void> {
    return this.#joined.promise;
  }

  /** Its peer id; 0 before it has joined. */
  get peer(): number {
    return this.#accepted?.peer ?? 0;
  }

  /** Network id of its avatar; 0 before it has one. */
  get avatar(): EntityId {
    return this.#avatar;
  }

  /** Spawns an avatar that it may spawn, and keeps telling of it until it is acknowledged in time. */
  spawnAvatar(component: string, values: ComponentValues): void {
    const accepted = this.#accepted!;
    const world = new World(this.#grants);
    const sender = this.#sender(this.#grants, world);
    this.#avatar = accepted.entityIds[0]!;
    this.#write(world, this.#avatar, accepted.peer, component, values);
    this.#honest = { world, sender };
  }

  /** One slot: what is honest, and the acknowledgement that keeps the server talking. */
  tick(): void {
    if (this.#accepted === undefined || this.closed) return;
    const time = this.#time();
    const body = new Writer(1_200);
    const sequence = this.#sequence;
    const has =
      this.#honest?.sender.writeSection(body, 8_000, Math.floor(time / SUBTICKS), sequence) ??
        false;
    this.#send(has ? [[SectionType.Snapshot, body.finish()]] : []);
    if (has) this.#honest!.sender.handleAcked(sequence);
  }

  /** Writes a component of an entity as if it were its own: someone else's, or one that nobody but the server may write. */
  forgeWrite(id: EntityId | "own", component: string, values: ComponentValues): void {
    const grants = everythingGranted(this.#grants);
    const world = new World(grants);
    const sender = this.#sender(grants, world);
    this.#write(world, id === "own" ? this.#avatar : id, this.peer, component, values);
    const body = new Writer(1_200);
    if (sender.writeSection(body, 8_000, Math.floor(this.#time() / SUBTICKS), this.#sequence)) {
      this.#send([[SectionType.Snapshot, body.finish()]]);
    }
  }

  /** Speaks with someone else's mouth. */
  forgeVoice(id: EntityId, payload: Uint8Array): void {
    const time = this.#time();
    const writer = new VoiceSectionWriter();
    writer.begin(time);
    writer.tryAdd({ kind: VoiceKind.Opus, ...voiceTagOf(id), sequence: 1, time, payload }, 1_000);
    this.#send([[SectionType.Voice, writer.finish()]]);
  }

  /** Sends an event that is not its to send, or that nobody declared. */
  forgeEvent(eventId: number, values: ComponentValues): void {
    const grant = this.#grants.events.find((event) => event.id === eventId);
    let payload: Uint8Array = new Uint8Array(4);
    if (grant !== undefined) {
      const allFields = (1 << grant.fields.length) - 1;
      const value = createValue(grant);
      quantiseValues(grant, values, allFields, value, () => false);
      const writer = new Writer(256);
      new FieldCodec({ ...grant, allFields }).encodeAbsolute(writer, value, allFields);
      payload = writer.finish();
    }
    this.#tell({ kind: "event", eventId, from: 0, time: this.#time(), stateTicks: 0, payload });
  }

  /** Sends bytes that are no datagram of this protocol. */
  sendGarbage(bytes: Uint8Array): void {
    this.#connection.sendDatagram(bytes);
  }

  /** Leaves. */
  close(): void {
    this.#connection.close(0, "");
  }

  #sender(grants: Grants, world: World): SnapshotSender {
    const roleIndex = grants.roles.findIndex((role) => role.id === this.#accepted!.roleId);
    const sender = new SnapshotSender({
      grants,
      world,
      peer: this.peer,
      roleIndex,
      direction: "up",
    });
    sender.setRole(roleIndex, this.#accepted!.grantEpoch);
    return sender;
  }

  #write(
    world: World,
    id: EntityId,
    owner: number,
    component: string,
    values: ComponentValues,
  ): void {
    const grant = world.grants.components.find((one) => one.name === component)!;
    const value = createValue(grant);
    quantiseValues(grant, values, grant.allFields, value, () => false);
    const time = this.#time();
    const tick = Math.floor(time / SUBTICKS);
    world.spawn(id, owner, tick);
    world.addComponent(id, grant.index, value, tick, time);
  }

  #handleControl(message: ControlMessage): void {
    if (message.kind === "accepted") {
      this.#accepted = message;
      this.#acceptedMs = this.#now();
      this.#joined.resolve();
    } else if (message.kind === "refused") {
      this.refusal = message.reason;
      this.#joined.resolve();
    } else if (message.kind === "denied") {
      this.denied.push(message.subject);
    }
  }

  #handleDatagram(bytes: Uint8Array): void {
    this.received.push(bytes.slice());
    const header = readHeader(new Reader(bytes));
    if (header === undefined) return;
    this.#acks.handleReceived(
      unwrap16(header.sequence, Math.max(0, this.#acks.largest)),
      this.#now(),
    );
  }

  #time(): TimelineTime {
    const perMs = this.#grants.tickHz * SUBTICKS / 1000;
    return Math.floor(this.#accepted!.time + (this.#now() - this.#acceptedMs) * perMs);
  }

  #tell(message: ControlMessage): void {
    this.#control.write(encodeControlFrame(encodeControl(message)));
  }

  #send(sections: readonly (readonly [SectionType, Uint8Array])[]): void {
    const w = new Writer(1_200);
    writeHeader(w, {
      sequence: this.#sequence,
      worldEpoch: this.#accepted!.worldEpoch,
      time: this.#time(),
      ack: this.#acks.writeBlock(this.#now()),
    });
    this.#sequence += 1;
    for (const [type, body] of sections) writeSection(w, type, body);
    this.#connection.sendDatagram(w.finish());
  }
}
