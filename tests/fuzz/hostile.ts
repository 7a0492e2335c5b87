// A peer that keeps to no rights: it joins like any other, then writes every component of its own and of others' entities, ends what is not
// its own, and comes back under a new name when it is thrown out. What of it may pass is the judge's business.

import { makeEntityId } from "../../protocol/entity_id.ts";
import { PROTOCOL_VERSION } from "../../protocol/limits.ts";
import type { Prng } from "../../protocol/prng.ts";
import type { ComponentGrant } from "../../permissions/grants.ts";
import { type ComponentValue, createValue } from "../../replication/value.ts";
import type { FieldValue } from "../../engine/values.ts";
import { quantiseValues } from "../../engine/values.ts";
import type { Connection } from "../../transport/connection.ts";
import type { Pair } from "../support/pair.ts";
import { aliveHeaders, ForgedState, goneHeaders, RawPeer } from "../support/raw_peer.ts";

/** Makes a value of a field that nobody else ever writes. */
export type Forge = (component: ComponentGrant, field: number, entity: number) => FieldValue;

/** See the head of this file. */
export class Hostile {
  readonly #pair: Pair;
  readonly #prng: Prng;
  readonly #hook: (acceptor: Connection) => Connection;
  readonly #forge: Forge;
  #raw: RawPeer | undefined;
  #forged: ForgedState | undefined;
  /**
   * In such a life it sends nothing that no peer may ever send, which would cost the whole datagram: all it says is read, and judged by who
   * it is and whose the entity is.
   */
  #isCareful = false;
  /** Joins so far. */
  joins = 0;
  /** Field values forged so far. */
  writes = 0;

  constructor(
    pair: Pair,
    prng: Prng,
    hook: (acceptor: Connection) => Connection,
    forge: Forge,
  ) {
    this.#pair = pair;
    this.#prng = prng;
    this.#hook = hook;
    this.#forge = forge;
  }

  /** Its peer id, while it is in. */
  get peer(): number | undefined {
    return this.#raw?.closed === undefined ? this.#raw?.accepted?.peer : undefined;
  }

  /** Joins if it is not in. */
  enter(): void {
    const raw = this.#raw;
    if (raw === undefined || raw.closed !== undefined) {
      this.#forged = undefined;
      this.#raw = new RawPeer(this.#pair, this.#hook);
      this.#raw.tell({
        kind: "join",
        protocolVersion: PROTOCOL_VERSION,
        schemaHash: Uint8Array.fromHex(this.#pair.grants.schemaHash),
        credential: "none",
        resume: undefined,
      });
      this.joins += 1;
    } else if (raw.accepted !== undefined && this.#forged === undefined) {
      this.#isCareful = this.#prng.chance(0.7);
      this.#forged = new ForgedState(raw, this.#isCareful ? everWritable : undefined);
    }
  }

  /** Leaves without a word. */
  leave(): void {
    if (this.#raw?.closed === undefined) this.#raw?.connection.close(1, "");
  }

  /** Does one wrong thing with one of `ids`, which belong to others, or with an entity of its own. */
  misbehave(ids: readonly number[]): void {
    this.enter();
    const [raw, forged, prng] = [this.#raw!, this.#forged, this.#prng];
    if (raw.closed !== undefined || raw.accepted === undefined || forged === undefined) return;
    // It hears of its rights and keeps to their number, or everything it says would be refused for that alone.
    for (const message of raw.messages.splice(0)) {
      const news = message as { readonly grantEpoch?: number; readonly peer?: number };
      const isOwn = news.peer === undefined || news.peer === raw.accepted.peer;
      if (message.kind !== "accepted" && isOwn && news.grantEpoch !== undefined) {
        forged.sender.grantEpoch = news.grantEpoch;
      }
    }
    const deed = prng.nextBelow(12);
    if (deed === 0) return this.#send(goneHeaders(forged.sender.grantEpoch, pick(prng, ids)));
    if (deed === 1) {
      const owner = raw.accepted.peer;
      return this.#send(aliveHeaders(forged.sender.grantEpoch, pick(prng, ids), owner));
    }
    const targets = this.#targets(raw, ids);
    if (targets.length === 0) return;
    const id = targets[prng.nextBelow(targets.length)]!;
    this.#write(raw, forged, id);
    const bytes = forged.datagram();
    if (bytes !== undefined) raw.send(bytes);
  }

  /** What it writes to: mostly what is really its own, also what could be, what is others' and what is not there at all. */
  #targets({ accepted }: RawPeer, ids: readonly number[]): readonly number[] {
    const dice = this.#prng.nextFloat();
    if (dice < 0.3) return ids;
    if (dice < 0.35) return [makeEntityId(1 + this.#prng.nextBelow(200), 0)];
    const own: number[] = [];
    this.#pair.server.core.world.forEachOwned(accepted!.peer, (id) => own.push(id));
    return dice < 0.5 || own.length === 0 ? accepted!.entityIds.slice(0, 3) : own;
  }

  #write(raw: RawPeer, { world, grants, tick }: ForgedState, id: number): void {
    const prng = this.#prng;
    if (!world.isAlive(id)) {
      if (world.idAt(id & 0xfffff) !== 0) world.despawn(world.idAt(id & 0xfffff), tick);
      world.spawn(id, raw.accepted!.peer, tick);
    }
    // It has heard of the epoch, as the owner of an entity does.
    const truth = this.#pair.server.core.world;
    if (truth.isAlive(id)) world.setEpoch(id, truth.epoch(id), tick);
    const choice = this.#isCareful
      ? grants.components.filter(({ index }) =>
        (!truth.isAlive(id) || truth.hasComponent(id, index) || prng.chance(0.1)) &&
        everWritable(this.#pair.grants.components[index]!) !== 0
      )
      : grants.components;
    const component = choice[prng.nextBelow(choice.length)];
    if (component === undefined) return;
    const value: ComponentValue = createValue(component);
    const has = world.read(id, component.index, value);
    let mask = 0;
    for (const field of component.fields) {
      if (has && prng.chance(0.5)) continue;
      const plain = this.#forge(component, field.index, id);
      const result = quantiseValues(
        component,
        { [field.name]: plain },
        1 << field.index,
        value,
        () => true,
      );
      mask |= result.mask;
      this.writes += 1;
    }
    const time = raw.time;
    if (!has) world.addComponent(id, component.index, value, tick, time);
    else world.write(id, component.index, mask, value, tick, time);
  }

  #send(snapshot: Uint8Array): void {
    this.#raw!.send(this.#raw!.datagram({ snapshot }));
  }
}

/** Fields that some role may write on its own entities. */
function everWritable({ authority, writeMasks }: ComponentGrant): number {
  if (authority !== "owner") return 0;
  return writeMasks.slice(1).reduce((all, mask) => all | mask, 0);
}

/** Up to three of them, ascending. */
function pick(prng: Prng, ids: readonly number[]): number[] {
  const some = ids.filter(() => prng.chance(0.3)).slice(0, 3);
  return some.sort((a, b) => a - b);
}
