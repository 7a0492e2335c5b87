// A driver in memory for tests of the engine's side: it speaks the engine link as bytes and keeps what it heard. It obeys only when told to.

import { decodeToDriver, encodeToEngine } from "../../protocol/engine_codec.ts";
import { EngineLink, type EngineLinkOptions } from "../../engine/engine_link.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import type { ComponentRows, ToDriver, ToEngine } from "../../protocol/engine_messages.ts";
import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";
import { ENGINE_LINK_VERSION, MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { setNeutral } from "../../replication/quantise.ts";
import { RowWriter } from "../../replication/row_codec.ts";
import { createValue } from "../../replication/value.ts";
import { type ComponentValues, quantiseValues } from "../../engine/values.ts";
import { sampleGrants } from "./sample_grants.ts";

/** The grants of the sample world with channels of both modes. */
export const LINK_GRANTS: Grants = sampleGrants({
  channels: [
    {
      index: 0,
      id: 1,
      name: "chat",
      namespace: false,
      mode: "reliable",
      sendRoles: 0b011,
      receiveRoles: 0b111,
      maxBytes: 1024 * 1024,
      rateHz: 100,
      maxOpen: 1,
      hostSend: true,
      hostReceive: true,
    },
    {
      index: 1,
      id: 2,
      name: "telemetry",
      namespace: false,
      mode: "unreliable",
      sendRoles: 0b011,
      receiveRoles: 0b011,
      maxBytes: 500,
      rateHz: 100,
      maxOpen: 1,
      hostSend: true,
      hostReceive: true,
    },
    {
      index: 2,
      id: 3,
      name: "script/*",
      namespace: true,
      mode: "reliable",
      sendRoles: 0b011,
      receiveRoles: 0b011,
      maxBytes: 1_000,
      rateHz: 100,
      maxOpen: 2,
      hostSend: true,
      hostReceive: true,
    },
  ],
});

type Kind = ToDriver["kind"];
type OfKind<K extends Kind> = Extract<ToDriver, { kind: K }>;
type Hello = Extract<ToEngine, { kind: "hello" }>;
type Joined = Extract<ToEngine, { kind: "joined" }>;
type InBatch = Extract<ToEngine, { kind: "batch" }>;

const none = new Uint32Array(0);

/** The hello of a driver that fits `grants`. */
export function helloOf(grants: Grants, role: Hello["role"]): Hello {
  return {
    kind: "hello",
    linkVersion: ENGINE_LINK_VERSION,
    role,
    schemaHash: grants.schemaHash,
    components: grants.components.map((one) => [one.id, one.name, one.rowBytes] as const),
    nodes: [],
    certificateHash: "",
    listen: "",
    boot: 7,
  };
}

/** A joined message; a server's when the peer is 0. */
export function joinedOf(peer: number, fields: Partial<Joined> = {}): Joined {
  return {
    kind: "joined",
    peer,
    roleId: peer === 0 ? 0 : 1,
    resumed: false,
    timeline: 6_400,
    resume: Uint8Array.of(1, 2, peer),
    listen: "",
    ...fields,
  };
}

/** A batch of the driver with some parts. */
export function batchOf(parts: Partial<InBatch>): InBatch {
  return {
    kind: "batch",
    tick: 100,
    spawns: none,
    spawnIds: none,
    spawnOwners: none,
    components: [],
    removes: none,
    hides: none,
    despawns: none,
    zones: none,
    owners: none,
    ...parts,
  };
}

/** Rows of one component for a batch of the driver: values by handle, with the mask of the fields named (or `mask`). */
export function rowsOf(
  component: ComponentGrant,
  values: readonly (readonly [number, ComponentValues])[],
  mask?: number,
): ComponentRows {
  const writer = new RowWriter(component);
  const masks: number[] = [];
  for (const [, fields] of values) {
    const value = createValue(component);
    setNeutral(component, value);
    const found = quantiseValues(component, fields, component.allFields, value, () => true);
    const sent = mask ?? found.mask;
    writer.push(sent, value, (handle) => handle);
    masks.push(sent);
  }
  return {
    componentId: component.id,
    handles: Uint32Array.from(values, ([handle]) => handle),
    masks: Uint32Array.from(masks),
    rows: writer.finish(),
    times: new Float64Array(values.length).fill(6_400),
  };
}

/** A batch that spawns one entity with components. */
export function spawnBatch(
  grants: Grants,
  handle: number,
  id: number,
  owner: number,
  components: Readonly<Record<string, ComponentValues>>,
): InBatch {
  return batchOf({
    spawns: Uint32Array.of(handle),
    spawnIds: Uint32Array.of(id),
    spawnOwners: Uint32Array.of(owner),
    components: grants.components.filter((one) => components[one.name] !== undefined)
      .map((one) => rowsOf(one, [[handle, components[one.name]!]], one.allFields)),
  });
}

/** A link with a reference world and the sample grants, whose clock is a number. */
export class LinkBed {
  /** The present time, ms. */
  nowMs = 1_000;
  readonly world = new ReferenceWorld();
  readonly grants: Grants;
  readonly link: EngineLink;
  /** Names of callbacks, in the order in which they came. */
  readonly log: string[] = [];
  /** Everything the present driver heard. */
  heard: ToDriver[] = [];
  /** False: what the link writes is not taken. */
  isReading = true;
  #frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);

  constructor(role: "server" | "client", options: Partial<EngineLinkOptions> = {}) {
    this.grants = options.grants ?? LINK_GRANTS;
    this.link = new EngineLink({
      grants: this.grants,
      role,
      world: this.world,
      now: () => this.nowMs,
      ...options,
    });
    const { link, log } = this;
    link.onDriverReady = () => log.push("ready");
    link.onDriverRefused = (reason) => log.push(`refused ${reason}`);
    link.onDriverLost = (reason) => log.push(`lost ${reason}`);
    link.onDriverBack = () => log.push("back");
    link.onJoined = (info) => log.push(`joined ${info.peer} ${info.role}`);
    link.onLeft = (code) => log.push(`left ${code}`);
    link.onPlayerJoin = (peer, roleName) => log.push(`player ${peer} ${roleName}`);
    link.onPlayerLeave = (peer) => log.push(`gone ${peer}`);
    link.onRoleChanged = (peer, roleName) => log.push(`role ${peer} ${roleName}`);
    link.onSpawn = (handle, owner) => log.push(`spawn ${handle} of ${owner}`);
    link.onDespawn = (handle) => log.push(`despawn ${handle}`);
    link.onSpawnRefused = (handle, rule) => log.push(`spawnRefused ${handle} ${rule}`);
    link.onRemoteChange = (handle, name, values) =>
      log.push(`change ${handle} ${name} ${Object.keys(values).join(",")}`);
    link.onRemoteRemove = (handle, name) => log.push(`remove ${handle} ${name}`);
    link.onHide = (handle, name) => log.push(`hide ${handle} ${name}`);
    link.onOwnerChange = (handle, owner, epoch) => log.push(`owner ${handle} ${owner} ${epoch}`);
    link.onDenied = ({ door, rule, subject, id, fields, handle, peer, count }) =>
      log.push(`denied ${door} ${rule} ${subject} ${id} f${fields} h${handle} p${peer} x${count}`);
  }

  /** Connects a driver, which says hello and joins. */
  join(peer: number, fields: Partial<Joined> = {}): void {
    this.connect();
    this.say(helloOf(this.grants, peer === 0 ? "server" : "client"));
    this.say(joinedOf(peer, fields));
  }

  /** Connects a driver that says nothing. */
  connect(): boolean {
    this.heard = [];
    this.#frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
    return this.link.handleConnected();
  }

  /** The driver says something. */
  say(...messages: readonly ToEngine[]): void {
    for (const message of messages) this.sayBytes(encodeFrame(encodeToEngine(message)));
  }

  /** The driver sends bytes. */
  sayBytes(bytes: Uint8Array): void {
    this.link.handleBytes(bytes);
    this.listen();
  }

  /** The driver reads what the link wrote. */
  listen(): void {
    while (this.isReading) {
      const bytes = this.link.pollBytes();
      if (bytes === undefined) break;
      this.link.handleWritten();
      this.#frames.handleBytes(bytes);
      for (let frame = this.#frames.pollFrame(); frame; frame = this.#frames.pollFrame()) {
        const decoded = decodeToDriver(frame);
        if (!decoded.ok) throw new Error(`the engine sent a frame with fault ${decoded.fault}`);
        this.heard.push(decoded.message);
      }
    }
  }

  /** Flushes and lets the driver read. */
  flush(): number {
    const id = this.link.flush();
    this.listen();
    return id;
  }

  /** Lets time pass. */
  pass(ms: number, stepMs = 100): void {
    for (let left = ms; left > 0; left -= stepMs) {
      this.nowMs += Math.min(stepMs, left);
      this.link.handleTimer();
      this.listen();
    }
  }

  /** The connection ends. */
  hangUp(): void {
    this.link.handleClosed();
  }

  /** What the driver heard of one kind. */
  heardOf<K extends Kind>(kind: K): OfKind<K>[] {
    return this.heard.filter((message): message is OfKind<K> => message.kind === kind);
  }

  /** The last batch heard. */
  get lastBatch(): OfKind<"batch"> | undefined {
    return this.heardOf("batch").at(-1);
  }

  /** The component with a name. */
  component(name: string): ComponentGrant {
    return this.grants.components.find((one) => one.name === name)!;
  }

  /** Empties the log and returns what was in it. */
  takeLog(): string[] {
    return this.log.splice(0);
  }
}
