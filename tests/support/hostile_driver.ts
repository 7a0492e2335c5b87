// A driver that has been taken over, for tests of the engine's door: a world full of canaries, words that no honest driver says, and an onlooker
// that says from the declarations alone what such a driver may have changed.

import type { Channel } from "../../engine/channel.ts";
import type { ReferenceWorld } from "../../engine/reference_world.ts";
import type { ComponentValues } from "../../engine/values.ts";
import { quantiseValues } from "../../engine/values.ts";
import type { ComponentGrant, Grants } from "../../permissions/grants.ts";
import { encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { encodeFrame } from "../../protocol/frame_buffer.ts";
import { createValue } from "../../replication/value.ts";
import { batchOf, joinedOf, LINK_GRANTS, LinkBed } from "./fake_driver.ts";
import { below, type Prng } from "./prng.ts";
import { buildComponents, PLAYER, SAMPLE_COMPONENTS, SERVER, SPECTATOR } from "./sample_grants.ts";
import { TO_ENGINE_SAMPLES } from "./engine_link_samples.ts";

/** The sample world, small, with a component whose fields players write in part, and one that this host keeps to itself in part. */
export const HOSTILE_GRANTS: Grants = {
  ...LINK_GRANTS,
  maxEntities: 40,
  maxPeers: 4,
  maxEntitiesPerPeer: 6,
  components: buildComponents([
    ...SAMPLE_COMPONENTS,
    {
      id: 7,
      name: "Badge",
      fields: [{ name: "text", kind: "string" }, { name: "level", kind: "u8" }],
      authority: "owner",
      spawnRoles: 1 << SERVER | 1 << PLAYER,
      spawnMax: 3,
      writeMasks: [0b11, 0b01, 0],
      readMasks: [0b11, 0b11, 0b01],
    },
    {
      id: 8,
      name: "Narrowed",
      fields: [{ name: "open", kind: "f32" }, { name: "kept", kind: "f32" }, {
        name: "deaf",
        kind: "f32",
      }],
      authority: "owner",
      spawnRoles: 1 << SERVER | 1 << PLAYER,
      spawnMax: 3,
      writeMasks: [0b111, 0b111, 0],
      hostSendMask: 0b101,
      hostReceiveMask: 0b011,
    },
  ]),
  events: LINK_GRANTS.events.map((event) =>
    event.name === "Wave" ? { ...event, receiveRoles: 0b011 } : event
  ),
};

/** Peers that are there on a server's bed; 6 is a player, 7 a spectator. */
export const PLAYER_PEER = 6;
/** See {@linkcode PLAYER_PEER}. */
export const SPECTATOR_PEER = 7;

/** What no right lets out, as text and as a number. */
export const CANARY = "CANARY-7f3a";
/** See {@linkcode CANARY}. */
export const CANARY_NUMBER = 123.456;
/** What may go out, so that a search is seen to find something. */
export const GRANTED = "GRANTED-51c0";

/** Everything in a world, by handle and component. */
export type WorldCopy = ReadonlyMap<number, ReadonlyMap<string, ComponentValues>>;

/** Copies a world. */
export function copyWorld(world: ReferenceWorld): WorldCopy {
  const copy = new Map<number, ReadonlyMap<string, ComponentValues>>();
  for (const handle of world.handles()) {
    const components = new Map<string, ComponentValues>();
    for (const name of world.componentsOf(handle)) {
      components.set(name, { ...world.read(handle, name) });
    }
    copy.set(handle, components);
  }
  return copy;
}

/** An engine's end with a world full of canaries, joined by a driver; everything that the driver is given is kept as bytes. */
export class CanaryBed extends LinkBed {
  readonly role: "server" | "client";
  /** Bytes given to the driver. */
  readonly given: Uint8Array[] = [];
  /** Handles of entities that no link knows. */
  readonly local: number[] = [];
  /** The engine's own entities. */
  readonly own: number[] = [];
  readonly channels: Channel[] = [];

  constructor(role: "server" | "client", grants: Grants = HOSTILE_GRANTS) {
    super(role, { grants });
    this.role = role;
    this.fill();
    this.comeIn(false);
  }

  /** The driver connects, says what it must, and joins. */
  comeIn(resumed: boolean): void {
    this.join(this.role === "server" ? 0 : 5, { resumed });
    const [player, spectator] = [PLAYER_PEER, SPECTATOR_PEER];
    this.say({ kind: "peerJoin", peer: player, roleId: 1, resumed });
    this.say({
      kind: "peerJoin",
      peer: spectator,
      roleId: this.role === "client" ? 2 : 1,
      resumed,
    });
    if (this.role === "server") {
      this.giveRole(spectator, "spectator");
    }
  }

  /** The engine gives a peer a role, and the driver says so. */
  giveRole(peer: number, name: "player" | "spectator"): void {
    this.link.setRole(peer, name);
    this.flush();
    this.say({ kind: "roleChanged", peer, roleId: name === "player" ? 1 : 2 });
  }

  /** Makes the engine's world. */
  fill(): void {
    const { world, link } = this;
    for (let i = 0; i < 2; i++) {
      const handle = world.createLocal();
      this.local.push(handle);
      // Declared components of entities that are nobody's but this engine's.
      world.set(handle, "Name", { text: `${CANARY} local` });
      world.set(handle, "Narrowed", { open: CANARY_NUMBER, kept: CANARY_NUMBER, deaf: 0 });
      world.set(handle, "Diary", { text: CANARY, mood: CANARY_NUMBER });
    }
    const own = link.spawn({
      Name: { text: GRANTED },
      ...(this.role === "server" ? { Health: { points: 3, secret: 77 } } : {}),
    });
    const second = link.spawn({ Badge: { text: GRANTED } });
    this.own.push(own, second);
    for (const handle of this.own) {
      // Undeclared: a component, and fields of a declared one.
      world.set(handle, "Diary", { text: CANARY, mood: CANARY_NUMBER });
    }
    world.write(second, "Badge", { hidden: CANARY });
    link.set(second, "Narrowed", { open: 1, deaf: 0.1 });
    world.write(second, "Narrowed", { kept: CANARY_NUMBER });
  }

  override listen(): void {
    const { link } = this;
    const poll = link.pollBytes.bind(link);
    link.pollBytes = () => {
      const bytes = poll();
      if (bytes !== undefined) this.given.push(bytes.slice());
      return bytes;
    };
    try {
      super.listen();
    } finally {
      delete (link as { pollBytes?: unknown }).pollBytes;
    }
  }

  /** Takes what the driver was given since the last call, as one. */
  takeGiven(): Uint8Array {
    const parts = this.given.splice(0);
    const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

/** Whether `needle` lies in `bytes`. */
export function holds(bytes: Uint8Array, needle: Uint8Array): boolean {
  outer: for (let at = bytes.indexOf(needle[0]!); at >= 0; at = bytes.indexOf(needle[0]!, at + 1)) {
    for (let i = 1; i < needle.length; i++) if (bytes[at + i] !== needle[i]) continue outer;
    return true;
  }
  return false;
}

/** The ways in which a canary could lie in bytes of the link: text, floats of both sizes and orders. */
export function canaryForms(text: string, number?: number): Uint8Array[] {
  const forms = [new TextEncoder().encode(text)];
  if (number === undefined) return forms;
  for (const isLittle of [true, false]) {
    const f32 = new Uint8Array(4);
    new DataView(f32.buffer).setFloat32(0, number, isLittle);
    const f64 = new Uint8Array(8);
    new DataView(f64.buffer).setFloat64(0, number, isLittle);
    forms.push(f32, f64);
  }
  return forms;
}

/** Says what a driver may have changed in a world. Reads declarations, not the gate. */
export class Onlooker {
  readonly #bed: CanaryBed;
  readonly #grants: Grants;
  #before: WorldCopy;
  #owners = new Map<number, number>();
  #unnamed = new Set<number>();
  #role = "";

  constructor(bed: CanaryBed) {
    this.#bed = bed;
    this.#grants = bed.grants;
    this.#before = copyWorld(bed.world);
    this.look();
  }

  /** Takes the present world as the one to compare with. */
  look(): void {
    const { world, link } = this.#bed;
    this.#before = copyWorld(world);
    this.#owners.clear();
    this.#unnamed.clear();
    this.#role = link.roleName;
    for (const handle of world.handles()) {
      this.#owners.set(handle, link.ownerOf(handle) ?? -1);
      if (link.networkIdOf(handle) === 0) this.#unnamed.add(handle);
    }
  }

  /** What changed since the last look that the driver may not change, one sentence each. */
  complaints(isJoining: boolean): string[] {
    const { world, link } = this.#bed;
    const isServer = this.#bed.role === "server";
    const after = copyWorld(world);
    const wrong: string[] = [];
    if (!isServer && link.roleName === "server") {
      wrong.push("a client's engine took the server's role");
    }
    if (link.roleName !== this.#role && isServer) wrong.push("the server's engine took a role");
    for (const [handle, before] of this.#before) {
      const now = after.get(handle);
      const owner = this.#owners.get(handle)!;
      const isLocal = this.#bed.local.includes(handle);
      if (now === undefined) {
        const isRemote = handle >= 0x8000_0000;
        const mayEnd = !isLocal &&
          (!isServer || owner > 0 || this.#unnamed.has(handle) || (isJoining && isRemote));
        if (!mayEnd) wrong.push(`entity ${handle} of ${owner} is gone`);
        continue;
      }
      const newOwner = link.ownerOf(handle) ?? -1;
      if (isLocal && newOwner !== -1) wrong.push(`entity ${handle} is not local any more`);
      if (isServer && newOwner !== owner && newOwner !== 0) {
        wrong.push(`entity ${handle} of ${owner} belongs to ${newOwner}`);
      }
      for (const name of new Set([...before.keys(), ...now.keys()])) {
        const sentence = this.#wrongChange(handle, name, before.get(name), now.get(name), owner);
        if (sentence !== undefined) wrong.push(sentence);
      }
    }
    for (const [handle, components] of after) {
      if (!this.#before.has(handle)) wrong.push(...this.#wrongSpawn(handle, components));
    }
    return wrong;
  }

  /** Role index that an owner's writes are judged by on a server: what the engine itself gave. */
  #roleOf(peer: number): number {
    return peer === SPECTATOR_PEER ? SPECTATOR : PLAYER;
  }

  /** Fields that a driver may change. */
  #mask(component: ComponentGrant, owner: number): number {
    if (this.#bed.role === "server") {
      const isPeers = owner > 0 && component.authority === "owner";
      return isPeers ? component.writeMasks[this.#roleOf(owner)]! & component.hostReceiveMask : 0;
    }
    // A client's driver speaks for the server, which may put its engine in any role but its own.
    const { link } = this.#bed;
    const roles = new Set([this.#role, link.roleName]);
    let mask = 0;
    for (const { name, index } of this.#grants.roles) {
      if (roles.has(name)) mask |= component.readMasks[index]!;
    }
    if (owner === link.peer) mask |= component.ownerReadMask;
    return mask & component.hostReceiveMask;
  }

  #wrongChange(
    handle: number,
    name: string,
    before: ComponentValues | undefined,
    now: ComponentValues | undefined,
    owner: number,
  ): string | undefined {
    const what = `${name} of ${handle}, owned by ${owner}`;
    const component = this.#grants.components.find((one) => one.name === name);
    const fieldNames = new Set([...Object.keys(before ?? {}), ...Object.keys(now ?? {})]);
    const changed = [...fieldNames].filter((field) =>
      JSON.stringify(before?.[field]) !== JSON.stringify(now?.[field])
    );
    if (changed.length === 0) return undefined;
    if (component === undefined || this.#bed.local.includes(handle)) return `${what} changed`;
    const mask = this.#mask(component, owner);
    if (now === undefined) {
      return this.#mayCompose(component, owner) ? undefined : `${what} is gone`;
    }
    if (before === undefined) return this.#wrongAdded(handle, component, now, owner, mask);
    for (const field of changed) {
      const index = component.fields.findIndex((one) => one.name === field);
      const isAllowed = index >= 0 &&
        (((mask >>> index) & 1) === 1 || this.#isRevoked(component, index, now[field]));
      if (!isAllowed) return `${what}: ${field} changed`;
    }
    return outOfRange(component, now) ? `${what} is out of range` : undefined;
  }

  /** A right that is taken away leaves nothing of the value, also where this host takes no values in. */
  #isRevoked(component: ComponentGrant, index: number, value: unknown): boolean {
    if (this.#bed.role === "server" || (value !== 0 && value !== "")) return false;
    const role = this.#grants.roles.find(({ name }) => name === this.#role)!.index;
    const known = component.readMasks[role]! | component.writeMasks[role]!;
    return ((known >>> index) & 1) === 1;
  }

  #mayCompose(component: ComponentGrant, owner: number): boolean {
    if (this.#bed.role === "client") return true;
    return owner > 0 && ((component.spawnRoles >>> this.#roleOf(owner)) & 1) === 1;
  }

  #wrongAdded(
    handle: number,
    component: ComponentGrant,
    now: ComponentValues,
    owner: number,
    mask: number,
  ): string | undefined {
    const what = `${component.name} of ${handle}, owned by ${owner},`;
    if (mask === 0 || !this.#mayCompose(component, owner)) return `${what} was added`;
    if (outOfRange(component, now)) return `${what} is out of range`;
    // Whatever the driver may not set is neutral: nothing, but for ranges that begin above nothing.
    const wrong = component.fields.find((field) =>
      ((mask >>> field.index) & 1) === 0 && now[field.name] !== 0 && now[field.name] !== "" &&
      now[field.name] !== false
    );
    return wrong === undefined ? undefined : `${what} came with ${wrong.name}`;
  }

  #wrongSpawn(handle: number, components: ReadonlyMap<string, ComponentValues>): string[] {
    const { link } = this.#bed;
    const owner = link.ownerOf(handle) ?? -1;
    const wrong: string[] = [];
    if (handle < 0x8000_0000) wrong.push(`entity ${handle} has a handle of the engine's half`);
    if (this.#bed.role === "server") {
      if (!link.peers.includes(owner)) wrong.push(`entity ${handle} belongs to ${owner}`);
      const owned = [...this.#bed.world.handles()].filter((one) => link.ownerOf(one) === owner);
      if (owned.length > this.#grants.maxEntitiesPerPeer) {
        wrong.push(`${owner} has too many entities`);
      }
      for (const name of components.keys()) {
        const component = this.#grants.components.find((one) => one.name === name);
        const count = owned.filter((one) => this.#bed.world.read(one, name) !== undefined).length;
        if (component !== undefined && count > component.spawnMax) {
          wrong.push(`${owner} has ${count} entities with ${name}`);
        }
      }
    }
    for (const [name, values] of components) {
      const component = this.#grants.components.find((one) => one.name === name);
      const sentence = component === undefined
        ? `${name} of ${handle} is undeclared`
        : this.#wrongAdded(handle, component, values, owner, this.#mask(component, owner));
      if (sentence !== undefined) wrong.push(sentence);
    }
    return wrong;
  }
}

function outOfRange(component: ComponentGrant, values: ComponentValues): boolean {
  const declared = Object.fromEntries(
    component.fields.map(({ name }) => [name, values[name]]).filter(([, value]) =>
      value !== undefined
    ),
  ) as ComponentValues;
  const out = createValue(component);
  return quantiseValues(component, declared, component.allFields, out, () => true).badFields !== 0;
}

/** Words of a driver that has been taken over: well-formed messages with wrong contents, and bytes that are none. */
export class HostileMouth {
  readonly #bed: CanaryBed;
  readonly #prng: Prng;
  #nextHandle = 0x8000_0100;

  constructor(bed: CanaryBed, prng: Prng) {
    this.#bed = bed;
    this.#prng = prng;
  }

  /** The next thing to say, as a whole frame. */
  nextFrame(): { readonly kind: string; readonly bytes: Uint8Array } {
    const share = this.#prng();
    if (share < 0.06) {
      const sample = TO_ENGINE_SAMPLES[below(this.#prng, TO_ENGINE_SAMPLES.length)]!;
      return this.#mutated(sample);
    }
    const message = this.#message();
    if (share < 0.12) return this.#mutated(message);
    return { kind: message.kind, bytes: encodeFrame(encodeToEngine(message)) };
  }

  #mutated(message: ToEngine): { kind: string; bytes: Uint8Array } {
    const body = Uint8Array.from(encodeToEngine(message));
    const cut = below(this.#prng, 4) === 0 ? below(this.#prng, body.length) : body.length;
    const bytes = body.slice(0, Math.max(1, cut));
    for (let i = 1 + below(this.#prng, 3); i > 0; i--) {
      bytes[below(this.#prng, bytes.length)] = below(this.#prng, 256);
    }
    return { kind: `mutated ${message.kind}`, bytes: encodeFrame(bytes) };
  }

  #pick<T>(from: readonly T[]): T {
    return from[below(this.#prng, from.length)]!;
  }

  #handle(): number {
    const known = [...this.#bed.world.handles()];
    const share = this.#prng();
    if (share < 0.75) return this.#pick(known);
    if (share < 0.85) return 1 + below(this.#prng, 40);
    return 0x8000_0000 + below(this.#prng, 0x200);
  }

  #peer(): number {
    return this.#pick([0, 1, 5, PLAYER_PEER, PLAYER_PEER, SPECTATOR_PEER, 9, 0xffff]);
  }

  #component(): number {
    return this.#pick([1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 8, 9, 16_383]);
  }

  #bytes(max: number, min = 0): Uint8Array {
    const length = min + below(this.#prng, max - min + 1);
    const style = below(this.#prng, 3);
    return Uint8Array.from(
      { length },
      () => style === 0 ? 0 : style === 1 ? below(this.#prng, 256) : 0xff,
    );
  }

  /** Rows of one component: mostly such as parse, with numbers that may be anything. */
  #rows(componentId: number, handles: readonly number[]) {
    const component = this.#bed.grants.components.find(({ id }) => id === componentId);
    const masks = handles.map(() =>
      below(this.#prng, 4) === 0
        ? below(this.#prng, 0x8000_0000)
        : component?.allFields ?? below(this.#prng, 16)
    );
    const parts: number[] = [];
    for (const mask of masks) {
      if (component === undefined) {
        parts.push(...this.#bytes(30));
        continue;
      }
      const fixed = new DataView(new ArrayBuffer(component.rowBytes));
      for (const field of component.fields) {
        if (field.blobIndex < 0 && ((mask >>> field.index) & 1) === 1) this.#number(field, fixed);
      }
      parts.push(...new Uint8Array(fixed.buffer));
      for (const field of component.fields) {
        if (field.blobIndex < 0) continue;
        const isCarried = ((mask >>> field.index) & 1) === 1;
        const text = isCarried && below(this.#prng, 6) > 0
          ? new TextEncoder().encode(this.#pick(["", "forged", "né", "x".repeat(70)]))
          : isCarried
          ? this.#bytes(6)
          : new Uint8Array(0);
        parts.push(text.length & 255, text.length >> 8, 0, 0, ...text);
      }
    }
    if (below(this.#prng, 12) === 0) parts.splice(below(this.#prng, parts.length + 1));
    return {
      componentId,
      handles: Uint32Array.from(handles),
      masks: Uint32Array.from(masks),
      rows: Uint8Array.from(parts),
      times: new Float64Array(handles.length).fill(below(this.#prng, 10_000)),
    };
  }

  #number(field: ComponentGrant["fields"][number], row: DataView): void {
    const { rowOffset: at } = field;
    const wild = [NaN, Infinity, -Infinity, 1e30, -0, 2, 999, 0.5];
    switch (field.kind) {
      case "bool":
      case "u8":
        row.setUint8(at, below(this.#prng, 4) === 0 ? 255 : below(this.#prng, 2));
        return;
      case "u16":
      case "enum":
        row.setUint16(at, below(this.#prng, 3) === 0 ? 0xffff : below(this.#prng, 4), true);
        return;
      case "f32":
      case "vec3":
      case "quat": {
        const isHonest = below(this.#prng, 3) > 0;
        for (let i = 0; i < field.lanes; i++) {
          const honest = field.kind === "quat" ? [0, 0.6, 0, 0.8][i]! : below(this.#prng, 5);
          row.setFloat32(at + 4 * i, isHonest ? honest : this.#pick(wild), true);
        }
        return;
      }
      default:
        row.setUint32(at, field.kind === "entity" ? this.#handle() : below(this.#prng, 1e9), true);
    }
  }

  /** What an honest driver might say, but for its numbers and fields. */
  #nearlyHonest(): ToEngine {
    const remote = [...this.#bed.world.handles()].filter((handle) => handle >= 0x8000_0000);
    if (remote.length < 4 || below(this.#prng, 4) === 0) {
      const handle = this.#nextHandle++;
      return batchOf({
        spawns: Uint32Array.of(handle),
        spawnIds: Uint32Array.of(1_000 + handle % 100_000),
        spawnOwners: Uint32Array.of(below(this.#prng, 3) === 0 ? this.#peer() : PLAYER_PEER),
        components: [this.#rows(3, [handle])],
      });
    }
    return batchOf({ components: [this.#rows(this.#pick([2, 3, 3, 7, 8]), [this.#pick(remote)])] });
  }

  #batch(): ToEngine {
    if (below(this.#prng, 2) === 0) return this.#nearlyHonest();
    const spawns: number[] = [];
    for (let i = below(this.#prng, 3); i > 0; i--) {
      spawns.push(below(this.#prng, 3) === 0 ? this.#handle() : this.#nextHandle++);
    }
    const targets = [
      ...spawns,
      ...Array.from({ length: below(this.#prng, 4) }, () => this.#handle()),
    ];
    const ids = [...new Set(Array.from({ length: below(this.#prng, 4) }, () => this.#component()))]
      .sort((a, b) => a - b);
    const isRare = () => below(this.#prng, 5) === 0;
    const list = (isWanted: boolean, make: () => number[]) =>
      Uint32Array.from(
        isWanted ? Array.from({ length: 1 + below(this.#prng, 3) }, make).flat() : [],
      );
    return batchOf({
      tick: below(this.#prng, 1e6),
      spawns: Uint32Array.from(spawns),
      spawnIds: Uint32Array.from(spawns, () => 1 + below(this.#prng, 60)),
      spawnOwners: Uint32Array.from(spawns, () => this.#peer()),
      components: targets.length === 0 ? [] : ids.map((id) => this.#rows(id, targets)),
      removes: list(isRare(), () => [this.#handle(), this.#component()]),
      hides: list(isRare(), () => [this.#handle(), this.#component()]),
      despawns: list(isRare(), () => [this.#handle()]),
      owners: list(isRare(), () => [this.#handle(), this.#peer(), below(this.#prng, 256)]),
      zones: list(isRare(), () => [this.#handle(), below(this.#prng, 256)]),
    });
  }

  #message(): ToEngine {
    const prng = this.#prng;
    const roleId = this.#pick([0, 1, 1, 2, 9]);
    switch (below(prng, 27)) {
      case 0:
        return { kind: "named", pairs: Uint32Array.of(1 + below(prng, 30), 1 + below(prng, 60)) };
      case 1:
        return { kind: "spawnRefused", handle: 1 + below(prng, 30), rule: "role" };
      case 2:
        return { kind: "peerJoin", peer: this.#peer(), roleId, resumed: below(prng, 2) === 0 };
      case 3:
        // What the oracle believes of these peers must stay true.
        return { kind: "peerLeave", peer: this.#pick([1, 5, 9]), reason: "gone" };
      case 4:
        return { kind: "roleChanged", peer: this.#peer(), roleId };
      case 5:
      case 6:
        return {
          kind: "event",
          eventId: this.#pick([1, 1, 2, 3]),
          from: this.#peer(),
          time: below(prng, 1e6),
          late: below(prng, 2) === 0,
          row: below(prng, 2) === 0 ? this.#bytes(40) : Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 65),
        };
      case 7:
        return {
          kind: "channelOpen",
          channel: 0x8000_0000 + below(prng, 40),
          channelId: this.#pick([1, 2, 3, 4]),
          name: this.#pick(["", "chat", "script/a", "script/a b", "x".repeat(64)]),
          peer: this.#peer(),
        };
      case 8:
      case 9:
        return {
          kind: "channelData",
          channel: below(prng, 4) === 0 ? 1 : 0x8000_0000 + below(prng, 40),
          piece: this.#bytes(below(prng, 8) === 0 ? 65_536 : 700, 1),
          last: below(prng, 2) === 0,
        };
      case 10:
        return {
          kind: "channelCredit",
          channel: 0x8000_0000 + below(prng, 40),
          bytes: 1 + below(prng, 262_144),
        };
      case 11:
        return { kind: "channelClose", channel: 0x8000_0000 + below(prng, 40), reason: "why not" };
      case 12:
      case 13:
        return {
          kind: "voice",
          handle: this.#handle(),
          sequence: below(prng, 65_536),
          time: below(prng, 1e6),
          position: below(prng, 2) === 0 ? Float64Array.of(1, 2, 3) : new Float64Array(0),
          frame: this.#bytes(below(prng, 4) === 0 ? 1_275 : 60, 1),
        };
      case 14:
        return {
          kind: "denied",
          denial: {
            door: this.#pick(["driver", "remote", "engine"]),
            rule: "x".repeat(32),
            peer: this.#peer(),
            subject: "anything",
            id: below(prng, 16_384),
            fields: below(prng, 0x8000_0000),
            handle: this.#handle(),
            count: below(prng, 1e9),
          },
        };
      case 15:
        return { kind: "stats", values: { [`s${"x".repeat(60)}`]: prng() * 1e300 } };
      case 16:
        return { kind: "stateHash", request: below(prng, 5), pairs: Uint32Array.of(1, 2, 3, 4) };
      case 17:
        return { kind: this.#pick(["ping", "pong"]), time: prng() * 1e9 };
      case 18:
        return { kind: "sign", request: below(prng, 100), bytes: this.#bytes(256, 1) };
      case 19:
        return {
          kind: "nonces",
          used: new Uint8Array(20 * (1 + below(prng, 20))).fill(below(prng, 256)),
        };
      case 20:
        return {
          kind: "identity",
          peer: this.#peer(),
          token: this.#bytes(200, 1),
          challenge: new Uint8Array(32),
          pin: new Uint8Array(32),
          signature: new Uint8Array(64),
        };
      case 21:
        return below(prng, 4) > 0
          ? this.#batch()
          : joinedOf(this.#pick([0, 5, 5, 9]), { resumed: true, roleId });
      case 22:
        return below(prng, 6) > 0
          ? this.#batch()
          : { kind: "left", code: 1, reason: "", final: false };
      case 23: {
        const masks = () => [below(prng, 8), below(prng, 2) * below(prng, 8)];
        const [a, b] = [masks(), masks()];
        const words = [a[0]!, a[1]! & ~a[0]!, b[0]!, b[1]! & ~b[0]!];
        return {
          kind: "grantsChanged",
          adjustments: Uint32Array.from(
            words.every((word) => word === 0) ? [] : [this.#component(), ...words],
          ),
        };
      }
      default:
        return this.#batch();
    }
  }
}
