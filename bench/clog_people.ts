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

/** When, on the room's clock, the sample times of each peer's poses were. */
class Stamps {
  readonly #offsetMs = new Map<number, number>();

  note(peer: number, time: TimelineTime, handedMs: number): void {
    this.#offsetMs.set(peer, handedMs - msOf(time));
  }

  /** Clocks of peers are not quite one: the offset is that of the peer's newest pose. */
  at(peer: number, time: TimelineTime): number {
    return msOf(time) + (this.#offsetMs.get(peer) ?? 0);
  }
}

function msOf(time: TimelineTime): number {
  return time * 1000 / (SUBTICKS * CLOG_HZ);
}

/** What one user sees, and how old it gets. */
export class Person {
  /** Its peer id, 0 before it joined. */
  peer = 0;
  /** Values of others that it got. */
  updates = 0;
  /** Ages that what it saw of one avatar had reached when something newer came: of each second and avatar the greatest. */
  readonly staleness = new Worst();
  readonly #room: SimRoom;
  readonly #stamps: Stamps;
  readonly #ownerOf = new Map<number, number>();
  readonly #newest = new Map<number, TimelineTime>();
  readonly #handedMs = new Map<number, number>();
  readonly #worst = new Map<number, number>();
  #windowMs = 0;

  constructor(room: SimRoom, stamps: Stamps) {
    this.#room = room;
    this.#stamps = stamps;
  }

  /** Begins to count anew. */
  clear(): void {
    this.updates = 0;
    this.staleness.clear();
    this.#worst.clear();
    this.#windowMs = this.#room.network.now;
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
    if (this.#room.network.now - this.#windowMs >= 1000) this.#closeWindow();
  }

  #age(owner: number): void {
    const ageMs = this.#room.network.now - this.#stamps.at(owner, this.#newest.get(owner)!);
    this.#worst.set(owner, Math.max(ageMs, this.#worst.get(owner) ?? 0));
  }

  #closeWindow(): void {
    this.#windowMs = this.#room.network.now;
    for (const ms of this.#worst.values()) this.staleness.add(ms);
    this.#worst.clear();
  }
}
