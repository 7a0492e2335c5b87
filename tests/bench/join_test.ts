// The join benchmark as its users run it, small, and how its values carry their age.

import { assert, assertEquals, assertLessOrEqual, assertNotEquals } from "@std/assert";
import {
  digestOf,
  flight,
  FLIGHT_M,
  flightAgeMs,
  JOIN_HZ,
  joinManifest,
} from "../../bench/join_world.ts";
import { NOTHING, sha256, SimRoom } from "../../bench/sim_room.ts";
import { compileGrants } from "../../permissions/compile.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { benchFigures } from "../support/bench_figures.ts";

Deno.test("`join` ends with one flat line of plausible figures, when three join a small world", async () => {
  const figures = await benchFigures(
    "join",
    ["--entities", "100", "--joins", "3", "--present", "1", "--runs", "1"],
    {
      join_p50_ms: [0, 20_000],
      join_p99_ms: [0, 20_000],
      others_p99_ratio: [0.01, 100],
      others_p50_ratio: [0.01, 100],
      others_quiet_p99_ms: [0.1, 2_000],
      accepted_p99_ms: [0.1, 20_000],
      exact_share: [1, 1],
      driver_cpu: [0, 8],
    },
  );
  assert(Number(figures["join_p50_ms"]) <= Number(figures["join_p99_ms"]));
});

Deno.test("`flightAgeMs()` reads the age out of a place, when time goes on and the cycle begins anew", () => {
  for (const nowMs of [1_999_990, 1_800_000_000_123.25, 5_000_000]) {
    for (const ageMs of [0, 30, 99.5, 1_500]) {
      const [x, y] = flight(7, nowMs);
      assert(y > FLIGHT_M && x >= 0 && x <= 2_048);
      assert(Math.abs(flightAgeMs(x, nowMs + ageMs) - ageMs) < 0.6, `${ageMs} ms at ${nowMs}`);
    }
  }
});

Deno.test("`digestOf()` is one for the same hashes in any order, and another when one differs", () => {
  assertEquals(digestOf([3, 0xffff_ffff, 1]), digestOf([1, 3, 0xffff_ffff]));
  assertNotEquals(digestOf([3, 5, 1]), digestOf([1, 3, 4]));
});

Deno.test("`joinManifest()` gives both sides one world, when it is parsed", () => {
  const server = parseManifest(joinManifest(100, 5, { role: "server" }), "server");
  const host = { role: "client", connect: "127.0.0.1:4433" } as const;
  assertEquals(parseManifest(joinManifest(100, 5, host), "client").world, server.world);
});

/** Bytes of a row: a position and a rotation in 32-bit floats. */
const ROW_BYTES = 28;

/** Rows of the entities from `first` to `last`: the first nine tenths of `entities` rest, the others fly. */
function rowsAt(nowMs: number, first: number, last: number, entities: number): Uint8Array {
  const floats = new Float32Array((last - first) * 7);
  for (let i = first; i < last; i++) {
    const [place, turn] = i < 0.9 * entities
      ? [[i % 70, i / 1_000, Math.floor(i / 70)], i]
      : [flight(i % 2_000, nowMs), nowMs / 1000 + i];
    floats.set([...place, 0, Math.sin(turn / 2), 0, Math.cos(turn / 2)], (i - first) * 7);
  }
  return new Uint8Array(floats.buffer);
}

Deno.test("a joiner has 5,000 entities exactly within a second of its acceptance, a tenth of them moving, under the default budget of joins", () => {
  const entities = 5_000;
  const flying = 4_500;
  const manifest = parseManifest(joinManifest(entities, 4, { role: "server" }), "join");
  const grants = compileGrants(manifest, sha256);
  assertEquals([grants.joinBytesPerSecond, grants.joinMs], [128_000, 2_000]);
  for (const [latencyMs, lossRate] of [[10, 0], [25, 0.02]] as const) {
    const room = new SimRoom({ grants, clients: 1, seed: 1, conditions: { latencyMs, lossRate } });
    const { server, network } = room;
    const client = room.clients[0]!;
    const { id, allFields } = grants.components[0]!;
    const handles = Uint32Array.from({ length: entities }, (_, i) => i + 1);
    let joinedMs = NaN;
    let exactMs = NaN;
    const resting = new Set<number>();
    const flights = new Map<number, number>();
    client.onMessage = (message) => {
      if (message.kind === "joined") joinedMs = network.now;
      if (message.kind !== "batch") return;
      for (const { handles: told, rows } of message.components) {
        const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
        told.forEach((handle, i) => {
          if (view.getFloat32(i * ROW_BYTES + 4, true) < FLIGHT_M) resting.add(handle);
          else flights.set(handle, view.getFloat32(i * ROW_BYTES, true));
        });
      }
      if (resting.size < flying || flights.size < entities - flying) return;
      const ages = [...flights.values()].map((x) => flightAgeMs(x, network.now));
      if (Math.max(...ages) <= 100 && Number.isNaN(exactMs)) exactMs = network.now;
    };
    server.start();
    room.run(50);
    server.hand(id, allFields, handles, rowsAt(0, 0, entities, entities), handles, NOTHING);
    const move = (): void => {
      const moving = handles.subarray(flying);
      server.hand(id, allFields, moving, rowsAt(network.now, flying, entities, entities));
      network.at(network.now + 1000 / JOIN_HZ, move);
    };
    move();
    room.run(1_000);
    client.start();
    room.until("the state is exact", () => !Number.isNaN(exactMs), 5_000);
    assertLessOrEqual(exactMs - joinedMs, 1_000, `${latencyMs} ms, loss ${lossRate}`);
    // What rests is there as the server has it, hash by hash.
    const { world } = server.core;
    const { core } = client;
    let checked = 0;
    for (const handle of resting) {
      const entity = core.idOf(handle);
      assertEquals(core.hashOf(entity), world.hash(entity));
      checked += 1;
    }
    assertEquals(checked, flying);
  }
});
