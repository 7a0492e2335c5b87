import { assert, assertEquals, assertGreater } from "@std/assert";
import type { DenialReport, ToDriver } from "../../protocol/engine_messages.ts";
import { Prng } from "../../protocol/prng.ts";
import { Rule } from "../../permissions/rule.ts";
import { ENGINE_BACKLOG_BYTES, ENGINE_TIMEOUT_MS } from "../../protocol/limits.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { disagreements } from "../support/agreement.ts";
import { avatarAt, driverGrants, poseAt } from "../support/driver_world.ts";
import { Pair, type PairNode } from "../support/pair.ts";

const GRANTS = driverGrants();

function joined(seed: number, clients = 2) {
  const pair = new Pair({ grants: GRANTS, seed, clients }).start().joinAll();
  const avatars = pair.clients.map((client, i) => client.engine.spawn(avatarAt(i)));
  for (const node of pair.clients) node.engine.flush();
  pair.run(600);
  return { pair, avatars };
}

function deniedAt(node: PairNode<never> | PairNode): DenialReport[] {
  const denials: DenialReport[] = [];
  (node as PairNode).engine.onDenied = (denial) => denials.push(denial);
  return denials;
}

/** A batch that a correct SDK would never send. */
function rowsOf(
  componentId: number,
  handle: number,
  mask: number,
  rows: Uint8Array,
): Extract<ToDriver, { kind: "batch" }> {
  return {
    kind: "batch",
    id: 9_999,
    spawns: new Uint32Array(0),
    spawnOwners: new Uint32Array(0),
    components: [{
      componentId,
      handles: Uint32Array.of(handle),
      masks: Uint32Array.of(mask),
      rows,
      times: new Float64Array(0),
    }],
    removes: new Uint32Array(0),
    despawns: new Uint32Array(0),
    zones: new Uint32Array(0),
  };
}

Deno.test("ClientCore refuses what its engine may not send, whatever its own gate let pass", () => {
  const { pair, avatars } = joined(1);
  const [a, b] = pair.clients;
  const denials = deniedAt(a!);
  const rules = () => denials.splice(0).map(({ rule, id }) => `${rule} ${id}`);
  const send = (message: ToDriver) => {
    a!.core.handleEngine(message, pair.network.now);
    a!.wake();
    pair.run(150);
    return rules();
  };
  const avatar = GRANTS.components[0]!;
  const nan = new Uint8Array(avatar.rowBytes);
  new DataView(nan.buffer).setFloat32(0, NaN, true);
  assertEquals(send(rowsOf(1, avatars[0]!, 1, nan)), [`${Rule.Range} 1`]);
  const far = new Uint8Array(avatar.rowBytes);
  new DataView(far.buffer).setFloat32(0, 513, true);
  assertEquals(send(rowsOf(1, avatars[0]!, 1, far)), [`${Rule.Range} 1`]);
  assertEquals(send(rowsOf(99, avatars[0]!, 1, far)), [`${Rule.Undeclared} 99`]);
  assertEquals(send(rowsOf(1, avatars[0]!, 1, far.subarray(1))), [`${Rule.Format} 1`]);
  assertEquals(send(rowsOf(3, avatars[0]!, 1, new Uint8Array(16))), [`${Rule.Authority} 3`]);
  assertEquals(send(rowsOf(1, 0x3fff_0000, 1, new Uint8Array(avatar.rowBytes))), [
    `${Rule.EntityUnknown} 1`,
  ]);
  const other = a!.engine.handleOf(b!.engine.networkIdOf(avatars[1]!));
  const value = new Uint8Array(avatar.rowBytes);
  assertEquals(send(rowsOf(1, other, 1, value)), [`${Rule.NotOwner} 1`]);
  assertEquals(
    send({ kind: "event", eventId: 2, to: 0xffff, row: new Uint8Array(6) }),
    [`${Rule.Role} 2`],
  );
  assertEquals(send({ kind: "voice", handle: other, frame: Uint8Array.of(0x78, 1) }), [
    `${Rule.NotOwner} 0`,
  ]);
  assertEquals(send({ kind: "voice", handle: avatars[0]!, frame: Uint8Array.of(0xff) }), [
    `${Rule.Format} 0`,
  ]);
  assertEquals(send({ kind: "kick", peer: 1, reason: "" }), [`${Rule.Authority} 0`]);
  assertEquals(send({ kind: "setRole", peer: 1, roleId: 2 }).length, 1);
  assertEquals(send({ kind: "transfer", handle: other, peer: 1 }).length, 1);
  pair.run(500);
  assertEquals(disagreements(pair), [], "nothing of it reached anyone");
  assertEquals(a!.core.exit, undefined);
});

Deno.test("ServerCore refuses broken rows of its own engine and goes on", () => {
  const { pair } = joined(2, 1);
  const prop = pair.server.engine.spawn({ Prop: { at: [1, 0, 0] } });
  pair.server.engine.flush();
  pair.run(300);
  const denials = deniedAt(pair.server);
  const bytes = new Uint8Array(GRANTS.components[2]!.rowBytes);
  new DataView(bytes.buffer).setFloat32(0, Infinity, true);
  for (const message of [rowsOf(3, prop, 1, bytes), rowsOf(77, prop, 1, bytes)]) {
    pair.server.core.handleEngine(message, pair.network.now);
  }
  pair.server.wake();
  pair.run(500);
  assertEquals(denials.map(({ rule, id }) => [rule, id]), [[Rule.Range, 3], [Rule.Undeclared, 77]]);
  pair.server.engine.set(prop, "Prop", { at: [2, 0, 0] });
  pair.server.engine.flush();
  pair.run(500);
  assertEquals(disagreements(pair), []);
});

Deno.test("a client's engine that stops reading costs bounded memory and then has the newest state", () => {
  const grants = driverGrants({}, { limits: { peerBytesPerSecond: 4_000_000 } });
  const pair = new Pair({ grants, seed: 3, clients: 2 }).start().joinAll();
  const [a, b] = pair.clients;
  const avatars = pair.clients.map((client, i) => client.engine.spawn(avatarAt(i)));
  const prng = new Prng(3);
  const data = () => {
    const bytes = new Uint8Array(20_000);
    prng.fill(bytes);
    return bytes;
  };
  const blobs = Array.from(
    { length: 6 },
    () => pair.server.engine.spawn({ Blob: { data: data() } }),
  );
  for (const node of [pair.server, ...pair.clients]) (node as PairNode).engine.flush();
  pair.run(1_000);
  a!.deaf = true;
  let most = 0;
  pair.play(4_000, 40, (i) => {
    for (const blob of blobs) {
      if (pair.server.world.has(blob)) pair.server.engine.set(blob, "Blob", { data: data() });
    }
    if (i === 50) pair.server.engine.despawn(blobs[0]!);
    if (i === 60) pair.server.engine.spawn({ Score: { points: 1 } });
    b!.engine.set(avatars[1]!, "Avatar", poseAt(i % 20));
    b!.engine.sendVoice(avatars[1]!, Uint8Array.of(0x78, i & 0xff));
    if (i % 10 === 0) b!.engine.sendEvent("Wave", { count: i });
    b!.engine.flush();
    pair.server.engine.flush();
    most = Math.max(most, a!.backlogBytes);
  });
  assertGreater(a!.core.counters.get("net.bytesIn"), 1.5 * ENGINE_BACKLOG_BYTES);
  assert(most < ENGINE_BACKLOG_BYTES + 200_000, `the driver held ${most} bytes`);
  let changes = 0;
  let voices = 0;
  a!.engine.onRemoteChange = () => changes += 1;
  a!.engine.onVoice = () => voices += 1;
  a!.deaf = false;
  a!.wake();
  pair.run(1_000);
  assertEquals(disagreements(pair), []);
  // A mebibyte was written before the engine's socket was full; the rest waited as marks, not as values.
  assert(changes < 120, `${changes} changes`);
  assert(voices <= 128, "voice drops its oldest");
  assertEquals(a!.core.exit, undefined);
});

Deno.test("a server's engine that stops reading costs bounded memory and then has the newest state", () => {
  const { pair, avatars } = joined(4);
  pair.server.deaf = true;
  let most = 0;
  pair.play(3_500, 20, (i) => {
    pair.clients.forEach((client, k) => {
      client.engine.set(avatars[k]!, "Avatar", poseAt((i + k) % 20));
      client.engine.sendVoice(avatars[k]!, Uint8Array.of(0x78, i & 0xff));
      if (i % 10 === 0) client.engine.sendEvent("Wave", { count: i });
      client.engine.flush();
    });
    most = Math.max(most, pair.server.backlogBytes);
  });
  assert(most < ENGINE_BACKLOG_BYTES, `the driver held ${most} bytes`);
  assertEquals(disagreements(pair).every((line) => line.startsWith("client")), true);
  pair.server.deaf = false;
  pair.server.wake();
  pair.run(500);
  assertEquals(disagreements(pair), []);
  assertEquals(pair.server.core.exit, undefined);
});

Deno.test("a driver whose engine falls silent says goodbye and ends", () => {
  const { pair } = joined(5);
  const [a, b] = pair.clients;
  a!.mute = true;
  pair.run(ENGINE_TIMEOUT_MS + 1_000);
  assertEquals(a!.core.exit?.code, ExitCode.EngineEnded);
  assertEquals(pair.server.engine.peers, [b!.engine.peer!], "it left, and did not time out");
  assertEquals(disagreements(pair), []);
});
