// The budget says how much a driver may hold at worst. Here the real structures are filled as far as they go, and must stay below it.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { compileGrants } from "../../permissions/compile.ts";
import type { Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { CommandError, ExitCode } from "../../driver/exit_codes.ts";
import {
  assertMemory,
  BASE_RESIDENT_MB,
  memoryBudget,
  memoryRefusal,
  memoryTable,
} from "../../driver/memory_budget.ts";
import { memoryParts, storeBytes } from "../../driver/memory_parts.ts";
import { mostStreams } from "../../driver/stream_bounds.ts";
import { makeEntityId } from "../../protocol/entity_id.ts";
import {
  DEFAULT_MEMORY_MB,
  MAX_FULL_PEERS,
  MAX_VERSIONS,
  SENT_LOG_ENTRIES,
  SPARE_STREAMS,
  UNACKED_CONNECTION_BYTES,
  UNREAD_STREAM_BYTES,
} from "../../protocol/limits.ts";
import { Writer } from "../../protocol/writer.ts";
import { createInterestResult, Interest } from "../../replication/interest.ts";
import { ReceivedEntities } from "../../replication/received_entities.ts";
import { SnapshotSender } from "../../replication/snapshot_sender.ts";
import { createValue } from "../../replication/value.ts";
import { VersionStore } from "../../replication/version_store.ts";
import { World } from "../../replication/world.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { sha256 } from "../support/pair.ts";
import { ROOT, runProgram, withFolder } from "../support/run_program.ts";

/** A small world whose every part has something in it. */
function manifestOf(edit: (value: Loose) => void = () => {}): Loose {
  const value: Loose = {
    world: {
      name: "budget",
      tickHz: 30,
      historyMs: 1_000,
      maxEntities: 200,
      maxPeers: 4,
      maxEntitiesPerPeer: 16,
      roles: [{ id: 1, name: "player" }],
      defaultRole: "player",
      components: [
        {
          id: 1,
          name: "Body",
          fields: {
            at: { type: "vec3", min: -100, max: 100, precision: 0.01 },
            name: { type: "string", maxBytes: 100 },
          },
          authority: "owner",
          read: ["all"],
          write: ["player"],
          rateHz: 30,
          position: "at",
          spawn: { roles: ["player"], maxPerPeer: 16 },
        },
        {
          id: 2,
          name: "Score",
          fields: { points: { type: "u32" } },
          authority: "server",
          read: ["all"],
          write: [],
          rateHz: 30,
        },
      ],
      channels: [{
        id: 1,
        name: "chat",
        mode: "reliable",
        send: ["all"],
        receive: ["all"],
        maxBytes: 1_000,
        rateHz: 5,
      }],
    },
    host: {
      role: "server",
      engineSocket: "engine.sock",
      listen: "127.0.0.1:4433",
      certificate: { mode: "development" },
    },
  };
  edit(value);
  return value;
}

function grantsOf(edit?: (value: Loose) => void): Grants {
  return compileGrants(parseManifest(JSON.stringify(manifestOf(edit)), "budget.jsonc"), sha256);
}

const GRANTS = grantsOf();

/** The budget's bytes of the parts whose names begin so. */
function budgeted(grants: Grants, name: string): { heap: number; buffer: number } {
  const parts = memoryParts(grants, "server").filter((part) => part.name.startsWith(name));
  assert(parts.length > 0, name);
  return {
    heap: parts.reduce((sum, { heapBytes }) => sum + heapBytes, 0),
    buffer: parts.reduce((sum, { bufferBytes }) => sum + bufferBytes, 0),
  };
}

/** A value whose every byte differs from the last one's. */
function fill(value: ReturnType<typeof createValue>, seed: number, maxBytes: number): void {
  value.lanes.forEach((_, i) => value.lanes[i] = (seed * 31 + i) & 0xff);
  for (let i = 0; i < value.blobs.length; i++) {
    value.blobs[i] = new Uint8Array(maxBytes).fill(seed & 0xff);
  }
}

/** A world with every entity there can be, each changed in every tick for longer than its history. */
function fullWorld(): { world: World; tick: number } {
  const world = new World(GRANTS);
  const values = GRANTS.components.map((component) => createValue(component));
  const ids = Array.from({ length: GRANTS.maxEntities }, (_, i) => makeEntityId(i + 1, 0));
  for (const id of ids) {
    world.spawn(id, 1, 1);
    values.forEach((value, c) => world.addComponent(id, c, value, 1, 0));
  }
  let tick = 2;
  for (; tick < 2 + MAX_VERSIONS + 40; tick++) {
    for (const id of ids) {
      values.forEach((value, c) => {
        fill(value, tick + id, 100);
        world.write(id, c, GRANTS.components[c]!.allFields, value, tick, 0);
      });
    }
    world.expire(tick);
  }
  return { world, tick };
}

Deno.test("memoryParts() is not below what a world holds that is full and changes all the time", () => {
  const { world } = fullWorld();
  let held = 0;
  for (const { index } of GRANTS.components) {
    const store = world.store(index);
    assertEquals(store.rowCount, GRANTS.maxEntities);
    held += store.heldBytes;
  }
  const { buffer } = budgeted(GRANTS, "world: values");
  assert(held <= buffer, `${held} of ${buffer}`);
  // Nor is it a number that could never be wrong.
  assert(held > buffer / 4, `${held} of ${buffer}`);
});

Deno.test("storeBytes() is not below a store with as many rows and versions as it is told", () => {
  const component = GRANTS.components[0]!;
  for (const rows of [1, 3, 17, 200]) {
    for (const ticks of [1, 30, 1_000]) {
      const store = new VersionStore(component, ticks);
      const value = createValue(component);
      const all = Array.from({ length: rows }, () => store.allocateRow());
      for (let tick = 0; tick < ticks + 200; tick++) {
        for (const row of all) {
          fill(value, tick + row, 100);
          store.put(row, tick, 0, 3, value);
        }
      }
      const perRow = Math.ceil(store.versionCount / rows);
      const { bufferBytes } = storeBytes(component, rows, perRow);
      assert(store.heldBytes <= bufferBytes, `${rows} x ${perRow}: ${store.heldBytes}`);
    }
  }
});

Deno.test("memoryParts() is not below what a link holds that is told everything and acknowledges nothing", () => {
  const { world, tick } = fullWorld();
  const interest = new Interest(GRANTS, world);
  const candidates = createInterestResult();
  const sender = new SnapshotSender({
    grants: GRANTS,
    world,
    peer: 1,
    roleIndex: 1,
    direction: "down",
  });
  const writer = new Writer(1_500);
  let most = 0;
  for (let sequence = 0; sequence < 2 * SENT_LOG_ENTRIES; sequence++) {
    interest.rebuild();
    interest.query(undefined, candidates);
    sender.updateView(tick + sequence, candidates);
    writer.clear();
    sender.writeSection(writer, 9_000, tick + sequence, sequence);
    most = Math.max(most, sender.heldBytes);
  }
  const told = budgeted(GRANTS, "links: what each peer");
  const sent = budgeted(GRANTS, "links: datagrams that await");
  const share = (told.heap + told.buffer + sent.heap + sent.buffer) / GRANTS.maxPeers;
  assert(most <= share, `${most} of ${share}`);
  assert(most > share / 8, `${most} of ${share}`);
});

Deno.test("memoryParts() is not below what links hold of peers that change all they may have, all the time", () => {
  const perPeer = 3 * GRANTS.maxEntitiesPerPeer;
  let held = 0;
  for (let peer = 0; peer < GRANTS.maxPeers; peer++) {
    const received = new ReceivedEntities(GRANTS);
    for (let slot = 1; slot <= perPeer; slot++) {
      const entity = received.ensure(makeEntityId(peer * perPeer + slot, 0));
      const known = received.ensureValue(entity, 0);
      const value = createValue(GRANTS.components[0]!);
      for (let tick = 0; tick < 2 * MAX_VERSIONS; tick++) {
        fill(value, tick + slot, 100);
        received.stores[0]!.put(known.row, tick, 0, 3, value);
      }
    }
    held += received.heldBytes;
  }
  const { heap, buffer } = budgeted(GRANTS, "links: what was received");
  assert(held <= heap + buffer, `${held} of ${heap + buffer}`);
  assert(held > (heap + buffer) / 8, `${held} of ${heap + buffer}`);
});

Deno.test("memoryBudget() grows with each key that its parts name, and with no other way out", () => {
  const sum = (edit?: (value: Loose) => void) => {
    const value = parseManifest(JSON.stringify(manifestOf(edit)), "budget.jsonc");
    const { heapMb, bufferMb } = memoryBudget(compileGrants(value, sha256), value.host);
    return heapMb + bufferMb;
  };
  const before = sum();
  assert(sum((m) => m.world.maxPeers = 100) > before);
  assert(sum((m) => m.world.maxEntities = 20_000) > before);
  assert(sum((m) => m.world.maxEntities = 20_000) > sum((m) => m.world.maxEntities = 10_000));
  assert(
    sum((m) => {
      m.world.maxEntities = 20_000;
      m.world.historyMs = 250;
    }) < sum((m) => m.world.maxEntities = 20_000),
  );
  assert(
    sum((m) => m.world.channels = []) < before,
  );
});

Deno.test("memoryRefusal() names the largest parts and their keys, when a manifest allows too little", () => {
  const budget = memoryBudget(GRANTS, { role: "server", limits: { memoryMb: 200 } });
  const refusal = memoryRefusal(budget)!;
  assertStringIncludes(refusal, "but host.limits.memoryMb allows 200");
  assertStringIncludes(refusal, `Set host.limits.memoryMb to ${budget.neededMb} or more`);
  assertStringIncludes(refusal, "engine link: frames, batches, what waits");
  assertStringIncludes(refusal, "smaller with less");
  const error = assertThrows(() => assertMemory(budget), CommandError);
  assertEquals(error.exitCode, ExitCode.Manifest);
  const enough = memoryBudget(GRANTS, { role: "server", limits: { memoryMb: budget.neededMb } });
  assertEquals(memoryRefusal(enough), undefined);
  assertMemory(enough);
});

Deno.test("memoryRefusal() refuses a script heap below what the heap's parts need", () => {
  const large = grantsOf((m) => {
    m.world.maxEntities = 50_000;
    m.world.maxPeers = 64;
  });
  const refusal = memoryRefusal(
    memoryBudget(large, { role: "server", limits: { heapMb: 64, memoryMb: 100_000 } }),
  )!;
  assertStringIncludes(refusal, "host.limits.heapMb allows 64");
  assertStringIncludes(refusal, "links: what each peer has been told");
});

Deno.test("memoryBudget() allows what is needed, when the manifest names nothing, up to a bound", () => {
  const small = memoryBudget(GRANTS, { role: "server", limits: {} });
  assertEquals(small.limitMb, small.neededMb);
  assertEquals(memoryRefusal(small), undefined);
  const large = grantsOf((m) => {
    m.world.maxEntities = 131_072;
    m.world.maxPeers = 1_024;
  });
  const huge = memoryBudget(large, { role: "server", limits: {} });
  assertEquals(huge.limitMb, DEFAULT_MEMORY_MB);
  assertStringIncludes(memoryRefusal(huge)!, "which is not set, stands for at most 4096");
});

Deno.test("memoryTable() lists every part once, the largest first, and their sum", () => {
  const budget = memoryBudget(GRANTS, { role: "server", limits: {} });
  const [head, ...rows] = memoryTable(budget);
  assertStringIncludes(head!, `at worst ${budget.neededMb} MB of ${budget.limitMb} allowed`);
  assertEquals(rows.length, budget.parts.length + 1);
  const sizes = rows.slice(0, -1).map((row) => Number(row.slice(0, 11)));
  assertEquals(sizes, [...sizes].sort((a, b) => b - a));
  const sum = rows.reduce((total, row) => total + Number(row.slice(0, 11)), 0);
  assert(Math.abs(sum - budget.neededMb) <= 3, `${sum} of ${budget.neededMb}`);
  assert(budget.neededMb > BASE_RESIDENT_MB);
});

Deno.test("a named script heap counts as a whole, since it may be filled before anything is collected", () => {
  const none = memoryBudget(GRANTS, { role: "server", limits: {} });
  const named = memoryBudget(GRANTS, { role: "server", limits: { heapMb: none.heapMb + 500 } });
  assertEquals(named.neededMb, none.neededMb + 500);
});

Deno.test("`check` prints the sum, and fails where the manifest allows less", async () => {
  await withFolder(async (folder) => {
    const file = `${folder}/m.jsonc`;
    await Deno.writeTextFile(file, JSON.stringify(manifestOf()));
    const good = await runProgram("check", "--manifest", file);
    assertEquals(good.code, ExitCode.Ok, good.err);
    assertStringIncludes(good.out, "memory: at worst ");
    assertStringIncludes(good.out, "channels: windows of open ones (channels, maxPeers)");
    const small = manifestOf((m) => m.host.limits = { memoryMb: 200 });
    await Deno.writeTextFile(file, JSON.stringify(small));
    const refused = await runProgram("check", "--manifest", file);
    assertEquals(refused.code, ExitCode.Manifest);
    assertStringIncludes(refused.err, "host.limits.memoryMb allows 200");
  });
});

Deno.test("memoryParts() is not below the array buffers of a world whose every table of entities is full, nor far above", async () => {
  const checked = manifestOf((m) => {
    m.world.maxEntities = 3_000;
    m.world.historyMs = 500;
    const [body] = m.world.components;
    const point = { type: "vec3", min: -100, max: 100, precision: 0.01 };
    body.fields = { at: point, hand: point, name: { type: "string", maxBytes: 100 } };
    const check = { maxSpeed: 8, maxAcceleration: 60, maxStep: 5, rateHz: 10 };
    body.checks = { at: check, hand: check };
  });
  await withFolder(async (folder) => {
    const file = `${folder}/m.jsonc`;
    await Deno.writeTextFile(file, JSON.stringify(checked));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "-q",
        "--v8-flags=--expose-gc",
        `--config=${ROOT}deno.json`,
        `${ROOT}tests/support/world_memory.ts`,
        file,
      ],
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const { grew } = JSON.parse(new TextDecoder().decode(stdout));
    const grants = compileGrants(parseManifest(JSON.stringify(checked), "m.jsonc"), sha256);
    const kinds = Object.keys(grew);
    assertEquals(kinds.length, 4);
    for (const kind of kinds) {
      const { buffer } = budgeted(grants, kind);
      assert(grew[kind] <= buffer, `${kind}: ${grew[kind]} of ${buffer}`);
      assert(grew[kind] >= buffer / 3, `${kind}: ${grew[kind]} of ${buffer}`);
    }
  });
});

Deno.test("memoryParts() counts what the runtime holds of each peer's streams, as many as any role may use", () => {
  const streams = "streams that are not read";
  const one = budgeted(GRANTS, streams).buffer / GRANTS.maxPeers;
  assertEquals(one, mostStreams(GRANTS) * UNREAD_STREAM_BYTES);
  const wider = grantsOf((m) => {
    m.world.channels.push({
      id: 2,
      name: "files/*",
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 1_000,
      maxOpen: 7,
    });
  });
  const more = budgeted(wider, streams).buffer / wider.maxPeers;
  assertEquals(more - one, 7 * UNREAD_STREAM_BYTES);
  const silent = grantsOf((m) => m.world.channels = []);
  assertEquals(
    budgeted(silent, streams).buffer,
    silent.maxPeers * SPARE_STREAMS * UNREAD_STREAM_BYTES,
    "the control stream is there, and one may be ending",
  );
  assertEquals(
    budgeted(GRANTS, "streams whose bytes are not acknowledged").buffer,
    GRANTS.maxPeers * UNACKED_CONNECTION_BYTES,
  );
  const many = grantsOf((m) => m.world.maxPeers = 100);
  for (
    const [name, bytes] of [
      [streams, mostStreams(GRANTS) * UNREAD_STREAM_BYTES],
      ["streams whose bytes are not acknowledged", UNACKED_CONNECTION_BYTES],
    ] as const
  ) assertEquals(budgeted(many, name).buffer, MAX_FULL_PEERS * bytes, "the others are let go of");
});

Deno.test("memoryRefusal() names the runtime's streams and what makes them fewer, where they are most of it", () => {
  const wide = grantsOf((m) => {
    m.world.maxPeers = 100;
    m.world.channels[0].name = "chat/*";
    m.world.channels[0].maxOpen = 32;
  });
  const refusal = memoryRefusal(memoryBudget(wide, { role: "server", limits: {} }))!;
  assertStringIncludes(refusal, "streams that are not read, in the runtime: ");
  assertStringIncludes(refusal, "smaller with less channels, maxPeers");
});
