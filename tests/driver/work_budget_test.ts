import { assert, assertEquals } from "@std/assert";
import { workAllowance, WorkBudget } from "../../driver/work_budget.ts";
import {
  MAX_OPEN_CHANNELS,
  MAX_OVER_BUDGET_MS,
  MAX_PEER_DATAGRAMS_PER_S,
  MIN_PEER_DATAGRAMS_PER_S,
  PEER_STREAM_BYTES_PER_S,
  STREAM_CHUNK_COST,
  STREAM_MESSAGE_CHUNKS,
  STREAM_MESSAGE_COST,
  STREAM_PIECE_COST,
  WORK_BURST_S,
  WORK_DATAGRAM,
  WORK_STREAM,
} from "../../protocol/limits.ts";
import type { ChannelGrant, Grants } from "../../permissions/grants.ts";
import { driverGrants } from "../support/driver_world.ts";

const GRANTS = driverGrants();
const HZ = 20;
const ALLOWANCE = { units: 2_000, datagrams: 200, stream: 10_000 };

/** Datagrams looked at in one tick out of `count` that come; each costs `units` beside itself. */
function play(budget: WorkBudget, count: number, units = 0): number {
  let read = 0;
  for (let i = 0; i < count; i++) {
    if (budget.isSpent) {
      budget.noteUnread(100);
      continue;
    }
    budget.spendDatagram();
    budget.spend(units);
    read += 1;
  }
  return read;
}

Deno.test("WorkBudget reads a second's burst at once, and its rate from then on", () => {
  const budget = new WorkBudget(ALLOWANCE, HZ);
  assertEquals(play(budget, 1_000), 200 * WORK_BURST_S);
  let read = 0;
  for (let tick = 0; tick < 10; tick++) {
    assert(budget.handleTick(1));
    read += play(budget, 1_000);
  }
  assertEquals(read, 10 * 200 / HZ);
});

Deno.test("WorkBudget counts work beside datagrams, and lets the last one overdraw by no more than a second", () => {
  const budget = new WorkBudget(ALLOWANCE, HZ);
  assertEquals(play(budget, 100, 100), Math.ceil(2_000 / (100 + WORK_DATAGRAM)));
  budget.spend(1e9);
  let ticks = 0;
  while (budget.isSpent && ticks < 1_000) {
    budget.handleTick(1);
    ticks += 1;
  }
  assertEquals(ticks, HZ * WORK_BURST_S + 1);
});

Deno.test("WorkBudget.handleTick() drops who is over for a second, and forgives four quiet ticks for one", () => {
  const budget = new WorkBudget(ALLOWANCE, HZ);
  let ticks = 0;
  for (;;) {
    play(budget, 1_000);
    ticks += 1;
    if (!budget.handleTick(1)) break;
  }
  assertEquals(ticks, MAX_OVER_BUDGET_MS / 1000 * HZ + 1);
  const other = new WorkBudget(ALLOWANCE, HZ);
  // One tick over in five for a minute.
  for (let i = 0; i < 60 * HZ; i++) {
    if (i % 5 === 0) other.noteOver();
    assert(other.handleTick(1), `tick ${i}`);
  }
  const worse = new WorkBudget(ALLOWANCE, HZ);
  let survived = 0;
  for (; survived < 60 * HZ; survived++) {
    if (survived % 4 === 0) worse.noteOver();
    if (!worse.handleTick(1)) break;
  }
  assert(survived < 60 * HZ, "one in four is too many");
});

Deno.test("WorkBudget does not hold against a peer that the driver was late itself", () => {
  const budget = new WorkBudget(ALLOWANCE, HZ);
  budget.noteOver();
  assert(budget.handleTick(100 * HZ));
});

Deno.test("WorkBudget.isStreamSpent says when streams wait, apart from everything else", () => {
  const budget = new WorkBudget(ALLOWANCE, HZ);
  budget.spendStream(ALLOWANCE.stream * WORK_BURST_S - 1);
  assert(!budget.isStreamSpent);
  budget.spendStream(1);
  assert(budget.isStreamSpent);
  assert(!budget.isSpent);
  budget.handleTick(1);
  assert(!budget.isStreamSpent);
});

Deno.test("WorkBudget.unread counts what was dropped since the last tick", () => {
  const budget = new WorkBudget({ units: 10, datagrams: 1, stream: 1 }, HZ);
  play(budget, 8);
  assertEquals(budget.unread, { count: 7, bytes: 700 });
  budget.handleTick(1);
  assertEquals(budget.unread, { count: 0, bytes: 0 });
});

Deno.test("workAllowance() grows with what a role may do, and is bounded both ways", () => {
  const writer = GRANTS.defaultRole;
  const full = workAllowance(GRANTS, writer);
  const less = workAllowance({ ...GRANTS, events: [], channels: [] }, writer);
  assert(less.units < full.units);
  // What may be foretold is more work than its entry.
  const still = GRANTS.components.map((one) => ({
    ...one,
    fields: one.fields.map((field) => ({ ...field, kind: "u32" as const })),
  }));
  assert(workAllowance({ ...GRANTS, components: still }, writer).units < full.units);
  const silent = {
    ...GRANTS,
    events: [],
    channels: [],
    voice: { ...GRANTS.voice, speakRoles: 0 },
    components: GRANTS.components.map((one) => ({
      ...one,
      writeMasks: one.writeMasks.map(() => 0),
    })),
  };
  const looker = workAllowance(silent, writer);
  assert(looker.units < less.units);
  assert(looker.datagrams >= MIN_PEER_DATAGRAMS_PER_S);
  const owner = workAllowance(GRANTS, writer, 1_000);
  assert(owner.units > 10 * full.units);
  assert(owner.datagrams <= MAX_PEER_DATAGRAMS_PER_S);
});

/** The test world with nothing in it but these channels. */
function channelsOnly(channels: readonly ChannelGrant[]): Grants {
  const voice = { ...GRANTS.voice, speakRoles: 0 };
  return { ...GRANTS, maxEntitiesPerPeer: 0, components: [], events: [], channels, voice };
}

Deno.test("workAllowance() holds what reliable channels bring at 1.2 times their rates, and after a stall", () => {
  const chat = GRANTS.channels.find(({ mode }) => mode === "reliable")!;
  const channels = Array.from({ length: 8 }, () => ({ ...chat, rateHz: 1_000 }));
  const allowance = workAllowance(channelsOnly(channels), GRANTS.defaultRole);
  const message = STREAM_MESSAGE_COST + STREAM_PIECE_COST +
    STREAM_MESSAGE_CHUNKS * STREAM_CHUNK_COST + 1_000;
  // Bursts of 0.4 s.
  const steady = new WorkBudget(allowance, HZ);
  for (let burst = 0; burst < 30; burst++) {
    for (let i = 0; i < 8_000 * 0.4; i++) {
      assert(!steady.isStreamSpent, `burst ${burst}, message ${i}`);
      steady.spendStream(message);
    }
    steady.handleTick(Math.floor(0.4 * HZ / 1.2));
  }
  // Whoever brings four times as much has to wait.
  const loud = new WorkBudget(allowance, HZ);
  let taken = 0;
  for (let tick = 0; tick < 10 * HZ; tick++) {
    for (let i = 0; i < 4 * 8_000 / HZ && !loud.isStreamSpent; i++, taken++) {
      loud.spendStream(message);
    }
    loud.handleTick(1);
  }
  assert(taken < 2.5 * 8_000 * 11 + 11 * PEER_STREAM_BYTES_PER_S / message, `${taken}`);
});

Deno.test("workAllowance() lets a peer open all its channels at once, in a world where it may do nothing else", () => {
  const chat = GRANTS.channels.find(({ mode }) => mode === "reliable")!;
  for (const role of [GRANTS.defaultRole, 2]) {
    const budget = new WorkBudget(workAllowance(channelsOnly([chat]), role), HZ);
    for (let i = 0; i < MAX_OPEN_CHANNELS; i++) {
      budget.spend(WORK_STREAM);
      assert(!budget.isSpent, `${i}`);
    }
  }
  const none = workAllowance(channelsOnly([]), GRANTS.defaultRole);
  assert(none.units < MAX_OPEN_CHANNELS * WORK_STREAM);
});
