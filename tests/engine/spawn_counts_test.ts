import { assertEquals } from "@std/assert";
import { batchOf, LINK_GRANTS, LinkBed, rowsOf } from "../support/fake_driver.ts";

const PEERS = 20;
const MOST = 6;
const WITH_NAME = 4;

Deno.test("SpawnCounts holds every peer to its limits in one batch, however many peers have spawns in it", () => {
  const grants = { ...LINK_GRANTS, maxEntities: 1_000, maxPeers: 64, maxEntitiesPerPeer: MOST };
  const bed = new LinkBed("server", { grants });
  bed.join(0);
  const name = grants.components.find((one) => one.name === "Name")!;
  const avatar = grants.components.find((one) => one.name === "Avatar")!;
  const peers = Array.from({ length: PEERS }, (_, i) => 10 + i);
  for (const peer of peers) bed.say({ kind: "peerJoin", peer, roleId: 1, resumed: false });
  let next = 1;
  /** A batch in which each peer, in turn, spawns `count` entities with one of two components. */
  const say = (count: number, component: typeof name) => {
    const handles: number[] = [];
    const owners: number[] = [];
    for (let i = 0; i < count; i++) {
      for (const peer of peers) {
        handles.push(0x8000_0000 + next++);
        owners.push(peer);
      }
    }
    bed.say(batchOf({
      spawns: Uint32Array.from(handles),
      spawnIds: Uint32Array.from(handles, (handle) => handle - 0x8000_0000),
      spawnOwners: Uint32Array.from(owners),
      components: [rowsOf(component, handles.map((handle) => [handle, {}]), component.allFields)],
    }));
    const counts = new Map<number, number>();
    for (const handle of bed.world.handles()) {
      const owner = bed.link.ownerOf(handle)!;
      counts.set(owner, (counts.get(owner) ?? 0) + 1);
    }
    return peers.map((peer) => counts.get(peer) ?? 0);
  };
  assertEquals(say(1, name), peers.map(() => 1));
  assertEquals(say(9, name), peers.map(() => WITH_NAME));
  assertEquals(say(9, avatar), peers.map(() => MOST));
});
