// Manifests for tests: a small legal one to change, and random legal ones. As plain JSON values, so that a test can break any part.

import { createHash } from "node:crypto";
import fc from "fast-check";
import { compileGrants } from "../../permissions/compile.ts";
import type { Grants } from "../../permissions/grants.ts";
import { type Manifest, parseManifest } from "../../permissions/manifest.ts";

/** A JSON value that tests change freely. */
// deno-lint-ignore no-explicit-any
export type Loose = any;

/** SHA-256 for the code that takes a hash as an argument. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

/** A small legal manifest, fresh on every call. */
export function smallManifest(): Loose {
  return {
    world: {
      name: "test",
      roles: [{ id: 1, name: "player" }, { id: 2, name: "guest" }],
      defaultRole: "player",
      components: [{
        id: 1,
        name: "Body",
        fields: {
          position: { type: "vec3", min: -10, max: 10, precision: 0.01 },
          rotation: { type: "quat" },
        },
        authority: "owner",
        read: ["all"],
        write: ["player"],
        interestRadius: 40,
        position: "position",
        spawn: { roles: ["player"], maxPerPeer: 2 },
      }],
      events: [{ id: 1, name: "Wave", fields: {}, send: ["player"], receive: ["all"] }],
      channels: [{ id: 1, name: "chat", mode: "reliable", send: ["all"], receive: ["all"] }],
      voice: { speak: ["player"], hear: ["all"], range: 25 },
    },
    host: {
      role: "server",
      engineSocket: "engine.sock",
      listen: "127.0.0.1:4433",
      certificate: { mode: "development" },
    },
  };
}

/** Parses a JSON value as a manifest. */
export function parsed(value: Loose): Manifest {
  return parseManifest(JSON.stringify(value, null, 2), "test.jsonc");
}

/** Compiles a JSON value as a manifest. */
export function compiled(value: Loose): Grants {
  return compileGrants(parsed(value), sha256);
}

const ROLES = ["player", "guest", "judge"];

/** Some of these words, none twice. */
function some(words: readonly string[], minLength = 0): fc.Arbitrary<string[]> {
  return fc.subarray([...words], { minLength });
}

const rangeArbitrary = fc.record({
  min: fc.integer({ min: -1000, max: 1000 }),
  steps: fc.integer({ min: 1, max: 100_000 }),
  precision: fc.constantFrom(0.001, 0.01, 0.25, 0.5, 1),
}).map(({ min, steps, precision }) => ({
  min,
  max: Number((min + steps * precision).toFixed(3)),
  precision,
}));

const wholeArbitrary = (type: string, low: number, high: number) =>
  fc.tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high }))
    .filter(([a, b]) => a !== b)
    .map(([a, b]) => ({ type, min: Math.min(a, b), max: Math.max(a, b) }));

const fieldArbitrary: fc.Arbitrary<Loose> = fc.oneof(
  fc.constantFrom({ type: "bool" }, { type: "entity" }, { type: "quat" }, { type: "u32" }),
  wholeArbitrary("u8", 0, 0xff),
  wholeArbitrary("u16", 0, 0xffff),
  wholeArbitrary("u32", 0, 0xffff_ffff),
  wholeArbitrary("i32", -0x8000_0000, 0x7fff_ffff),
  rangeArbitrary.map((range) => ({ type: "f32", ...range })),
  rangeArbitrary.map((range) => ({ type: "vec3", ...range })),
  fc.integer({ min: 4, max: 16 }).map((bits) => ({ type: "quat", bits })),
  fc.integer({ min: 1, max: 200 }).map((maxBytes) => ({ type: "string", maxBytes })),
  fc.integer({ min: 1, max: 200 }).map((maxBytes) => ({ type: "bytes", maxBytes })),
  fc.integer({ min: 1, max: 9 }).map((count) => ({
    type: "enum",
    values: Array.from({ length: count }, (_, at) => `value${at}`),
  })),
);

/** Lists that narrow `whole`: part of what it grants. */
function narrower(whole: readonly string[], words: readonly string[]): fc.Arbitrary<string[]> {
  return some(whole.includes("all") ? [...words, "all"] : whole);
}

function componentArbitrary(index: number): fc.Arbitrary<Loose> {
  const access = fc.tuple(
    fc.constantFrom("server", "owner"),
    some([...ROLES, "owner", "all", "server"]),
    some([...ROLES, "all"], 1),
    fc.array(fieldArbitrary, { minLength: 1, maxLength: 6 }),
  );
  return access.chain(([authority, read, writers, fields]) => {
    const write = authority === "server" ? ["server"] : writers;
    return fc.record({
      reads: fc.array(fc.option(narrower(read, [...ROLES, "owner"]), { nil: undefined }), {
        minLength: fields.length,
        maxLength: fields.length,
      }),
      writes: fc.array(fc.option(narrower(write, ROLES), { nil: undefined }), {
        minLength: fields.length,
        maxLength: fields.length,
      }),
      rateHz: fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined }),
      spawn: fc.boolean(),
      maxPerPeer: fc.integer({ min: 1, max: 8 }),
      check: fc.option(
        fc.record({
          rateHz: fc.double({ min: 0.1, max: 0.9, noNaN: true }),
          onViolation: fc.constantFrom("reject", "clamp", "report"),
        }),
        { nil: undefined },
      ),
    }).map(({ reads, writes, rateHz, spawn, maxPerPeer, check }) => ({
      id: (index + 1) * 7,
      name: `Component${index}`,
      fields: Object.fromEntries(
        fields.map((field, at) => [
          `field${at}`,
          { ...field, read: reads[at], write: writes[at] },
        ]),
      ),
      authority,
      read,
      write,
      rateHz,
      spawn: spawn && authority === "owner" ? { roles: write.slice(0, 1), maxPerPeer } : undefined,
      // A check needs somebody to judge: a field without a list of its own has its component's writers.
      checks: authority === "owner" && writes[0] === undefined && check !== undefined
        ? { field0: check }
        : undefined,
    }));
  });
}

const denyArbitrary = fc.record({
  component: fc.nat(3),
  send: fc.constantFrom(undefined, true, ["field0"]),
  receive: fc.constantFrom(undefined, true, ["field0"]),
});

/** Random legal manifests, as JSON values without `undefined`. */
export const manifestArbitrary: fc.Arbitrary<Loose> = fc.record({
  components: fc.integer({ min: 1, max: 4 }).chain((count) =>
    fc.tuple(...Array.from({ length: count }, (_, index) => componentArbitrary(index)))
  ),
  eventFields: fc.array(fieldArbitrary, { maxLength: 5 }),
  send: some([...ROLES, "server", "all"], 1),
  receive: some([...ROLES, "server", "all"], 1),
  tickHz: fc.integer({ min: 10, max: 120 }),
  deny: fc.option(denyArbitrary, { nil: undefined }),
  role: fc.constantFrom("server", "client", "loopback"),
  // Each from some of those after it: never in a circle.
  inherits: fc.tuple(some(ROLES.slice(1)), some(ROLES.slice(2)), fc.constant([])),
}).map(({ components, eventFields, send, receive, tickHz, deny, role, inherits }) => {
  const denied = deny === undefined ? undefined : components[deny.component % components.length];
  const value = {
    world: {
      name: "random",
      tickHz,
      roles: ROLES.map((name, at) => ({ id: at + 1, name, inherits: inherits[at] })),
      defaultRole: "guest",
      components,
      events: [{
        id: 3,
        name: "Event",
        fields: Object.fromEntries(eventFields.map((field, at) => [`field${at}`, field])),
        send,
        receive,
      }],
      channels: [{ id: 2, name: "log", mode: "reliable", send: ["guest"], receive: ["server"] }],
    },
    host: {
      role,
      engineSocket: "/run/engine.sock",
      listen: role === "server" ? "127.0.0.1:0" : undefined,
      certificate: role === "server" ? { mode: "development" } : undefined,
      connect: role === "client" ? ["[::1]:4433", "play.example.org:4433"] : undefined,
      deny: denied === undefined
        ? undefined
        : { components: { [denied.name]: { send: deny?.send, receive: deny?.receive } } },
    },
  };
  return JSON.parse(JSON.stringify(value));
});
