// What drivers write into their logs over a life in the world, read by their engines over the engine link, and how long it stays.

import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import type { LogEntry, LogPage, LogQuery } from "../../engine/log_reader.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { Fault } from "../../protocol/faults.ts";
import { LogCode, type LogLevel } from "../../protocol/log_codes.ts";
import { Rule, ruleCode, ruleText } from "../../permissions/rule.ts";
import { driverGrants } from "../support/driver_world.ts";
import { TestKey } from "../support/join_keys.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { RawPeer } from "../support/raw_peer.ts";

const GRANTS = driverGrants();

function pairOf(
  options: { clients?: number; retentionSeconds?: number; logLevel?: LogLevel } = {},
) {
  const { clients = 1, retentionSeconds = 60, logLevel = "debug" } = options;
  return new Pair({ grants: GRANTS, seed: 1, clients, log: { retentionSeconds, logLevel } });
}

async function page(node: PairNode, query: LogQuery = { level: "debug" }): Promise<LogPage> {
  const asked = node.engine.readLog(query);
  node.wake();
  // The answer comes with the next bytes; time that would erase entries does not pass.
  node.pump();
  return await asked;
}

async function entries(node: PairNode, query?: LogQuery): Promise<readonly LogEntry[]> {
  return (await page(node, query)).entries;
}

/** `name numbers` of every entry, numbers up to the last that is not 0. */
async function lines(node: PairNode, query?: LogQuery): Promise<string[]> {
  return (await entries(node, query)).map(({ name, numbers }) =>
    `${name} ${numbers.join(" ")}`.replace(/( 0)+$/, "")
  );
}

Deno.test("a driver logs how it began, who came in what role, and who went", async () => {
  const pair = pairOf({ clients: 2 }).start().joinAll();
  const [ann, bob] = pair.clients;
  pair.server.engine.setRole(ann!.engine.peer!, "spectator");
  pair.server.engine.flush();
  pair.run(200);
  bob!.core.close("", pair.network.now);
  bob!.pump();
  pair.run(300);
  pair.server.engine.kick(ann!.engine.peer!, "out with you");
  pair.server.engine.flush();
  pair.run(300);
  const words = [0, 4, 8, 12].map((at) =>
    parseInt(GRANTS.schemaHash.slice(2 * at, 2 * at + 8), 16)
  );
  const server = await lines(pair.server);
  const both = [ann!.engine.peer!, bob!.engine.peer!];
  assertEquals(server.slice(0, 4), [
    "Started",
    `Schema ${words.join(" ")}`,
    "EngineLinked",
    "Listening",
  ]);
  assertEquals(server.slice(4).filter((line) => !/^(Connected|EngineSlow)/.test(line)), [
    `PeerJoined ${both[0]} 1`,
    `PeerJoined ${both[1]} 1`,
    `RoleChanged ${both[0]} 2`,
    `PeerLeft ${both[1]}`,
    `PeerLeft ${both[0]} ${CloseCode.Kicked}`,
  ]);
  const client = await lines(ann!);
  assertEquals(client[0], "Started 1");
  assertEquals(client.slice(2), [
    "EngineLinked",
    "Connecting 1",
    `Joined ${both[0]} 1`,
    `GivenUp ${CloseCode.Kicked}`,
  ]);
});

Deno.test("a driver logs refused joins, faults and floods, once and with a count", async () => {
  const pair = pairOf().start().joinAll();
  const old = new RawPeer(pair).join({ protocolVersion: 99 });
  pair.run(100);
  assert(old.closed !== undefined);
  const raw = new RawPeer(pair).join();
  pair.until("a raw peer is in", () => raw.accepted !== undefined);
  const peer = raw.accepted!.peer;
  pair.play(1_500, 10, () => raw.send(Uint8Array.of(1, 2, 3)));
  pair.run(1_500);
  const all = await entries(pair.server, { level: "warn" });
  const found = (code: LogCode) => all.filter((entry) => entry.code === code);
  assertEquals(found(LogCode.JoinRefused).map(({ numbers }) => numbers[0]), [Fault.Incompatible]);
  assertEquals(found(LogCode.Flooding).map(({ numbers }) => numbers[0]), [peer]);
  const faulty = found(LogCode.Faulty);
  assertGreater(faulty.length, 1);
  const sum = faulty.reduce((count, entry) => count + entry.count, 0);
  const { counters } = pair.server.core;
  const counted = Object.entries(counters.snapshot()).filter(([name]) => name.startsWith("fault."));
  assertEquals(sum, counted.reduce((count, [, more]) => count + more, 0));
  for (const { numbers, level } of faulty) assertEquals([numbers[0], level], [peer, "warn"]);
  assertStringIncludes(faulty[0]!.text, `bytes of peer ${peer} were refused`);
});

Deno.test("a driver logs what it denied by peer, rule and declared id, summed and never with contents", async () => {
  const pair = pairOf().start().joinAll();
  const raw = new RawPeer(pair).join();
  pair.until("a raw peer is in", () => raw.accepted !== undefined);
  const peer = raw.accepted!.peer;
  // Only the server may send a Boom (event 2).
  const payload = new TextEncoder().encode("private words");
  for (let i = 0; i < 5; i++) {
    raw.tell({ kind: "event", eventId: 2, from: 0, time: raw.time, stateTicks: 0, payload });
  }
  pair.run(1_500);
  const all = await entries(pair.server);
  const denied = all.filter(({ code }) => code === LogCode.Denied);
  const rule = ruleCode(Rule.Role);
  assertEquals(denied.map(({ numbers, count }) => [...numbers, count]), [
    [peer, rule, 1, 2, 1],
    [peer, rule, 1, 2, 4],
  ]);
  assertEquals(denied[0]!.text, `peer ${peer} was denied event "Boom": ${ruleText(Rule.Role)}`);
  assertEquals(JSON.stringify(all).includes("private"), false);
});

Deno.test("a driver logs join tokens that it refuses by the rule they break", async () => {
  const key = new TestKey(1);
  const grants = driverGrants({ identity: { anonymous: false, issuers: [key.x] } });
  const pair = new Pair({
    grants,
    seed: 2,
    clients: 0,
    log: { retentionSeconds: 60, logLevel: "info" },
  });
  pair.start().run(100);
  const bare = new RawPeer(pair).join();
  pair.run(100);
  assertEquals(bare.closed?.code, CloseCode.Credential);
  const raw = new RawPeer(pair).join({ credential: "token" });
  const token = new TextEncoder().encode("no.join.token");
  raw.tell({ kind: "proof", token, signature: new Uint8Array(64) });
  pair.run(100);
  const told = (await entries(pair.server, { level: "warn" })).map(({ text }) => text);
  assertEquals(told, [
    "a join was refused: Credential",
    "a join token was refused: the credential is no join token",
  ]);
});

Deno.test("a client's engine reads the log before it has joined", async () => {
  const pair = pairOf();
  pair.unreachable = true;
  pair.start().run(1_000);
  const [ann] = pair.clients;
  assertEquals(ann!.core.isJoined, false);
  const names = (await entries(ann!)).map(({ name }) => name);
  assertEquals(names.slice(0, 5), ["Started", "Schema", "EngineLinked", "Connecting", "Left"]);
});

Deno.test("a driver's log is erased by time alone, though nothing new happens and nobody reads", async () => {
  const pair = pairOf({ retentionSeconds: 2 }).start().joinAll();
  assertGreater((await lines(pair.server)).length, 3);
  const { next } = await page(pair.server);
  pair.run(2_500);
  for (const node of [pair.server, ...pair.clients]) {
    assertEquals(await lines(node), []);
  }
  // The place in the log goes on.
  assertEquals((await page(pair.server)).next, next);
});

Deno.test("a driver keeps no log, when the retention is zero, and answers all the same", async () => {
  const pair = pairOf({ retentionSeconds: 0 }).start().joinAll();
  const raw = new RawPeer(pair).join();
  pair.run(100);
  raw.send(Uint8Array.of(9));
  pair.run(100);
  for (const node of [pair.server, ...pair.clients]) {
    assertEquals(await page(node), { entries: [], next: 1 });
  }
  assertGreater(pair.server.core.counters.get("join.accepted"), 1);
});

Deno.test("a driver writes no entry below its level", async () => {
  const pair = pairOf({ logLevel: "warn" }).start().joinAll();
  assertEquals(await lines(pair.server), []);
  new RawPeer(pair).join({ protocolVersion: 99 });
  pair.run(100);
  assertEquals(await lines(pair.server), [`JoinRefused ${Fault.Incompatible}`]);
});

Deno.test("the words with which a peer leaves are passed on to nobody", () => {
  const pair = pairOf().start().joinAll();
  const raw = new RawPeer(pair).join();
  pair.until("a raw peer is in", () => raw.accepted !== undefined);
  const told: string[] = [];
  for (const node of [pair.server, ...pair.clients]) {
    node.engine.onPlayerLeave = (_peer, reason) => told.push(reason);
  }
  pair.recording = true;
  raw.tell({ kind: "bye", code: 0, reason: "canary-of-a-bye" });
  pair.run(300);
  assertEquals(told, ["left", "left"]);
  const spoken = [pair.server, ...pair.clients].flatMap((node) => node.engineBytes);
  const bytes = new TextDecoder("latin1").decode(
    Uint8Array.from(spoken.flatMap((one) => [...one])),
  );
  assertEquals(bytes.includes("canary-of-a-bye"), false);
});
