// What only shows after a long time, or under a load that no single rule forbids.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { poseAt, readClip } from "../../examples/recorded.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { compileGrants } from "../../permissions/compile.ts";
import type { ComponentValues } from "../../engine/mod.ts";
import { MAX_CHANNEL_OPENS_PER_S, MAX_OPEN_CHANNELS } from "../../protocol/limits.ts";
import { Pair, sha256 } from "../support/pair.ts";

const FILE = new URL("../../examples/room_server.jsonc", import.meta.url).pathname;
const CLIP = readClip("02_05");

function grantsOf(edit: (manifest: ReturnType<typeof parseManifest>) => void = () => {}) {
  const manifest = parseManifest(Deno.readTextFileSync(FILE), FILE);
  edit(manifest);
  return compileGrants(manifest, sha256);
}

function pose(frame: number): ComponentValues {
  return poseAt(CLIP, frame, [0, 0]) as unknown as ComponentValues;
}

Deno.test("a link that was silent for more than half the ring of ticks carries state again", () => {
  const pair = new Pair({ grants: grantsOf(), seed: 5, clients: 2 }).start().joinAll();
  const [first, second] = [pair.clients[0]!, pair.clients[1]!];
  const avatar = first.engine.spawn({ Avatar: pose(0) });
  const other = second.engine.spawn({ Avatar: pose(0) });
  first.engine.flush();
  second.engine.flush();
  pair.run(500);
  // 40,000 ticks at 30 Hz; a 16-bit tick read around the newest one received would lie in the past.
  pair.run(40_000 / 30 * 1000);
  pair.play(1_000, 33, (i) => {
    first.engine.set(avatar, "Avatar", pose(i));
    first.engine.flush();
  });
  pair.run(500);
  const id = first.engine.networkIdOf(avatar);
  assertEquals(second.core.hashOf(id), first.core.hashOf(id));
  assertEquals(pair.server.core.counters.get("fault.OutOfRange"), 0);
  assert(other !== 0);
});

Deno.test("a field that a host does not receive stays out at spawn, and does not keep its neighbours out", () => {
  const server = grantsOf();
  const avatar = server.components[0]!;
  const denied = 1 << avatar.fields.findIndex((field) => field.name === "head");
  const narrowed = {
    ...server,
    components: server.components.map((component) =>
      component.index === 0
        ? { ...component, hostReceiveMask: component.allFields & ~denied }
        : component
    ),
  };
  const pair = new Pair({ grants: narrowed, seed: 6, clients: 2, clientGrants: () => server })
    .start().joinAll();
  const [first, second] = [pair.clients[0]!, pair.clients[1]!];
  const handle = first.engine.spawn({ Avatar: pose(0) });
  second.engine.spawn({ Avatar: pose(3) });
  first.engine.flush();
  second.engine.flush();
  pair.run(500);
  first.engine.set(handle, "Avatar", { body: [1, 2, 3] });
  first.engine.flush();
  pair.run(500);
  const seen = second.world.read(
    second.engine.handleOf(first.engine.networkIdOf(handle)),
    "Avatar",
  )!;
  assertEquals((seen.body as number[]).map((x) => Math.round(x * 1000)), [1000, 2000, 3000]);
  const head = seen.head as number[];
  const sent = pose(0).head as number[];
  assertGreater(Math.hypot(head[0]! - sent[0]!, head[1]! - sent[1]!, head[2]! - sent[2]!), 0.1);
});

Deno.test("voice over the budget does not silence state after it has ended", () => {
  const grants = grantsOf((manifest) => {
    Object.assign(manifest.host.limits ?? {}, { peerBytesPerSecond: 12_000 });
  });
  const pair = new Pair({ grants, seed: 7, clients: 4 }).start().joinAll();
  const avatars = pair.clients.map(({ engine }) => engine.spawn({ Avatar: pose(0) }));
  pair.clients.forEach(({ engine }) => engine.flush());
  pair.run(500);
  // A code 0 Opus packet of 300 bytes, 20 ms.
  const frame = new Uint8Array(300);
  frame[0] = 0x78;
  pair.play(5_000, 20, () => {
    pair.clients.slice(1).forEach(({ engine }, i) => engine.sendVoice(avatars[i + 1]!, frame));
  });
  pair.run(300);
  let changes = 0;
  pair.clients[0]!.engine.onRemoteChange = () => changes += 1;
  pair.play(1_000, 33, (i) => {
    pair.clients[1]!.engine.set(avatars[1]!, "Avatar", pose(i * 2));
    pair.clients[1]!.engine.flush();
  });
  assertGreater(changes, 20);
});

Deno.test("a peer that opens and ends channels as fast as it can is held to a rate", () => {
  const pair = new Pair({ grants: grantsOf(), seed: 8, clients: 1 }).start().joinAll();
  let opened = 0;
  pair.server.engine.onChannel = () => opened += 1;
  const link = pair.links.get(pair.clients[0]!)!;
  assert(link !== undefined);
  pair.play(4_000, 10, () => {
    const channel = pair.clients[0]!.engine.openChannel("chat");
    pair.run(2);
    channel?.close();
  });
  // All that it may have at once, and then the rate with its tolerance and burst.
  assertGreater(opened, MAX_OPEN_CHANNELS);
  assertLess(opened, MAX_OPEN_CHANNELS + MAX_CHANNEL_OPENS_PER_S * 1.25 * 5.5);
  assertEquals(pair.server.core.exit, undefined);
  assertEquals(pair.clients[0]!.core.isJoined, true);
});
