// The users of the clog benchmark: each plays a recorded avatar by its own clock and notes how old what it sees of the others gets.

import { readClips } from "../examples/recorded.ts";
import type { ToEngine } from "../protocol/engine_messages.ts";
import { SUBTICKS, type TimelineTime } from "../protocol/timeline_units.ts";
import { AvatarPlayer, drawPlaces } from "./avatar_player.ts";
import type { SimRoom } from "./sim_room.ts";
import { Worst } from "./worst.ts";

/** Ticks of the server and poses of each avatar, a second. */
export const CLOG_HZ = 20;
/** The handle under which each stand-in knows its own avatar. */
const OWN_HANDLE = 1;
/** Poses of each that are known by their sample times: those of 12.8 s. */
const STAMPS = 256;

/** Everyone's avatar, played from a recorded clip, each by its own clock. */
export function playPeople(room: SimRoom, seed: number): Person[] {
  const clips = readClips();
  const prng = room.prng.fork();
  const places = drawPlaces(room.clients.length, prng);
  const stamps = new Stamps();
  const avatar = room.grants.components[0]!;
  return room.clients.map((client, i) => {
    const clip = clips[(prng.nextBelow(clips.length) + seed) % clips.length]!;
    const frame = prng.nextBelow(2 * (clip.frameCount - 1));
    const player = new AvatarPlayer(clip, places[i]!, frame, CLOG_HZ, avatar);
    const phaseMs = prng.nextFloat() * 1000 / CLOG_HZ;
    const person = new Person(room, stamps);
    client.onMessage = (message) => {
      person.handle(message);
      if (message.kind !== "joined") return;
      const play = (isFirst: boolean): void => {
        player.play();
        const own = Uint32Array.of(OWN_HANDLE);
        const none = new Uint32Array(0);
        person.newestHandedMs = room.network.now;
        const owner = isFirst ? Uint32Array.of(person.peer) : none;
        const spawn = isFirst ? own : none;
        person.hand(
          client.hand(avatar.id, avatar.allFields, own, player.row.slice(), spawn, owner),
        );
        room.network.at(room.network.now + 1000 / CLOG_HZ, () => play(false));
      };
      room.network.at(room.network.now + phaseMs, () => play(true));
    };
    return person;
  });
}

/** When, on the room's clock, the poses of each peer were handed over, by their sample times. */
class Stamps {
  readonly #ofPeer = new Map<number, Stamped>();

  note(peer: number, time: TimelineTime, handedMs: number): void {
    let stamped = this.#ofPeer.get(peer);
    if (stamped === undefined) this.#ofPeer.set(peer, stamped = new Stamped());
    stamped.note(time, handedMs);
  }

  /** NaN for a time that is no pose's own: the server does not believe clocks that are far behind. */
  at(peer: number, time: TimelineTime): number {
    return this.#ofPeer.get(peer)?.at(time) ?? NaN;
  }

  /** Of such a time too, by the offset of the peer's newest pose. */
  near(peer: number, time: TimelineTime): number {
    const ms = this.at(peer, time);
    return Number.isNaN(ms) ? msOf(time) + (this.#ofPeer.get(peer)?.offsetMs ?? 0) : ms;
  }
}

/** The last poses of one peer. */
class Stamped {
  /** When the newest was handed over, less its sample time, ms. */
  offsetMs = 0;
  readonly #times = new Float64Array(STAMPS).fill(NaN);
  readonly #handedMs = new Float64Array(STAMPS);
  #count = 0;

  note(time: TimelineTime, handedMs: number): void {
    this.#times[this.#count % STAMPS] = time;
    this.#handedMs[this.#count % STAMPS] = handedMs;
    this.#count += 1;
    this.offsetMs = handedMs - msOf(time);
  }

  at(time: TimelineTime): number {
    for (let back = 1; back <= STAMPS; back++) {
      const i = (this.#count + STAMPS - back) % STAMPS;
      if (this.#times[i] === time) return this.#handedMs[i]!;
    }
    return NaN;
  }
}

function msOf(time: TimelineTime): number {
  return time * 1000 / (SUBTICKS * CLOG_HZ);
}

/** What one user sees, and how old it gets. */
export class Person {
  /** Its peer id, 0 before it joined. */
  peer = 0;
  /** When its newest pose was handed over, ms; NaN before the first. */
  newestHandedMs = NaN;
  /** Values of others that it got. */
  updates = 0;
  /** Ages that what it saw of one avatar had reached when something newer came: of each second and avatar the greatest. */
  readonly staleness = new Worst();
  readonly #room: SimRoom;
  readonly #stamps: Stamps;
  readonly #ownerOf = new Map<number, number>();
  readonly #newest = new Map<number, TimelineTime>();
  readonly #confirmedMs = new Map<number, number>();
  readonly #handedMs = new Map<number, number>();
  readonly #worst = new Map<number, number>();
  #windowMs = 0;
  #sinceMs = 0;

  constructor(room: SimRoom, stamps: Stamps) {
    this.#room = room;
    this.#stamps = stamps;
  }

  /** Begins to count anew. */
  clear(): void {
    this.updates = 0;
    this.staleness.clear();
    this.#worst.clear();
    this.#sinceMs = this.#room.network.now;
    this.#windowMs = this.#sinceMs;
  }

  /** Batch `id` was handed over just now. */
  hand(id: number): void {
    this.#handedMs.set(id, this.#room.network.now);
  }

  /** What never came again counts with the age that it has. */
  settle(): void {
    for (const owner of this.#newest.keys()) this.#age(owner);
    this.#closeWindow();
  }

  /** When what it has of an owner's avatar was handed over, ms; NaN where that is not known. */
  heldMs(owner: number): number {
    const time = this.#newest.get(owner);
    if (time === undefined) return NaN;
    return this.#confirmedMs.get(owner) ?? this.#stamps.at(owner, time);
  }

  /** What it has of an owner's avatar is the same as the pose handed over then: its engine is not told of such. */
  confirm(owner: number, handedMs: number): void {
    this.#confirmedMs.set(owner, handedMs);
  }

  /** A message of its driver. */
  handle(message: ToEngine): void {
    switch (message.kind) {
      case "joined":
        this.peer = message.peer;
        break;
      case "stamped": {
        const handedMs = this.#handedMs.get(message.id);
        this.#handedMs.delete(message.id);
        if (handedMs !== undefined) this.#stamps.note(this.peer, message.time, handedMs);
        break;
      }
      case "left":
        throw new Error(`a user lost its connection: ${message.reason}`);
      case "batch":
        for (let i = 0; i < message.spawns.length; i++) {
          this.#ownerOf.set(message.spawns[i]!, message.spawnOwners[i]!);
        }
        for (const rows of message.components) {
          for (let i = 0; i < rows.handles.length; i++) {
            this.#see(this.#ownerOf.get(rows.handles[i]!), rows.times[i]!);
          }
        }
        break;
    }
  }

  #see(owner: number | undefined, time: TimelineTime): void {
    if (owner === undefined || owner === this.peer) return;
    this.updates += 1;
    if (this.#newest.has(owner)) this.#age(owner);
    this.#newest.set(owner, time);
    this.#confirmedMs.delete(owner);
    if (this.#room.network.now - this.#windowMs >= 1000) this.#closeWindow();
  }

  #age(owner: number): void {
    // What it had before anything counted is as old as the counting.
    const handedMs = this.#confirmedMs.get(owner) ??
      this.#stamps.near(owner, this.#newest.get(owner)!);
    const fromMs = Math.max(handedMs, this.#sinceMs);
    const ageMs = this.#room.network.now - fromMs;
    this.#worst.set(owner, Math.max(ageMs, this.#worst.get(owner) ?? 0));
  }

  #closeWindow(): void {
    this.#windowMs = this.#room.network.now;
    for (const ms of this.#worst.values()) this.staleness.add(ms);
    this.#worst.clear();
  }
}
