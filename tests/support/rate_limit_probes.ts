// Probes for the limits that are rates of the product's own: each takes all that is given at once, asks for one more, and then for seconds on end.
// Rates that a manifest declares are no matter of this file.

import { assert, assertEquals } from "@std/assert";
import { openServerLink } from "../../driver/server_link.ts";
import { ServerState } from "../../driver/server_state.ts";
import type { HalfJoined, ServerPeer } from "../../driver/server_peer.ts";
import { Violations } from "../../driver/violations.ts";
import { Adjustments } from "../../permissions/adjustments.ts";
import { Denials } from "../../permissions/denials.ts";
import { Rule } from "../../permissions/rule.ts";
import { ControlFrames } from "../../protocol/control_frames.ts";
import { decodeControl } from "../../protocol/control_messages.ts";
import { Fault, faultName } from "../../protocol/faults.ts";
import * as limits from "../../protocol/limits.ts";
import { NO_ENTITY } from "../../protocol/entity_id.ts";
import type { Connection, Stream } from "../../transport/connection.ts";
import { driverGrants } from "./driver_world.ts";
import type { Probe } from "./manifest_limit_probes.ts";
import { aliveHeaders, RawPeer } from "./raw_peer.ts";
import { Pair } from "./pair.ts";

const GRANTS = driverGrants();
/** Seconds over which a rate is looked at. */
const SECONDS = 5;

/** What passes at once of a rate, as docs/PROTOCOL.md has it for all rates. */
function burstOf(rateHz: number): number {
  const { MIN_RATE_BURST, RATE_BURST_S, RATE_TOLERANCE } = limits;
  return Math.max(MIN_RATE_BURST, Math.floor(rateHz * RATE_TOLERANCE * RATE_BURST_S));
}

/** How many of `tries` at once, at a time in ms, pass `take`. */
function taken(tries: number, nowMs: number, take: (nowMs: number) => boolean): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (take(nowMs)) count += 1;
  return count;
}

/** Asserts that `take` gives `burst` at once and `rateHz` a second after that. */
function assertRate(burst: number, rateHz: number, take: (nowMs: number) => boolean): void {
  assertEquals(taken(burst, 0, take), burst, "what is given at once");
  assert(!take(0), "and not one more");
  let later = 0;
  for (let ms = 10; ms <= SECONDS * 1_000; ms += 10) later += taken(100, ms, take);
  const due = rateHz * SECONDS;
  assert(later <= due + 1 && later >= 0.98 * due - 1, `${later} of ${due}`);
}

/** A joined peer of a server's state, whose connection is made up. */
class Bed {
  nowMs = 0;
  readonly closes: number[] = [];
  readonly told: string[] = [];
  readonly state: ServerState;
  readonly peer: ServerPeer;

  constructor() {
    const frames = new ControlFrames();
    const control: Stream = {
      setHandler: () => {},
      bufferedBytes: 0,
      write: (bytes) => {
        frames.handleBytes(bytes);
        for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
          const result = decodeControl(frame, "fromAuthority");
          assert(result.ok);
          this.told.push(result.message.kind);
        }
        return true;
      },
      end: () => {},
      reset: () => {},
      pause: () => {},
    };
    const connection: Connection = {
      start: () => {},
      maxDatagramSize: limits.MIN_DATAGRAM_BYTES,
      sendDatagram: () => true,
      openStream: () => control,
      close: (code) => this.closes.push(code),
      channelBinding: new Uint8Array(0),
      label: "probe",
    };
    this.state = new ServerState(GRANTS, {
      now: () => this.nowMs,
      unixMs: () => this.nowMs,
      randomBytes: (length) => new Uint8Array(length),
      sha256: (bytes) => bytes.slice(0, 32),
      verifyEd25519: () => {},
      wake: () => {},
    });
    this.state.clock.startAt(0, 0);
    const half = { connection, control } as unknown as HalfJoined;
    const place = {
      role: GRANTS.defaultRole,
      adjusted: new Adjustments(),
      freeIds: new Set<never>(),
      sender: undefined,
    };
    this.peer = openServerLink(this.state, half, 1, place, 0);
  }

  deny(): void {
    this.state.deny(this.peer, Rule.Role, "component", 1, 1, NO_ENTITY, this.nowMs);
  }
}

/** The probes by the limit's name. */
export const RATE_PROBES: Readonly<Record<string, Probe>> = {
  MAX_DENIAL_REPORTS_PER_S: () => {
    const rate = limits.MAX_DENIAL_REPORTS_PER_S;
    const denials = new Denials();
    let id = 0;
    // Each of its own kind, so that none is summed with another.
    const next = (nowMs: number) => {
      const report = { rule: Rule.Role, peer: 1, subject: "event", id: id++ % 60_000 } as const;
      denials.record({ door: "driver", ...report, fields: 0, handle: 0 }, nowMs);
      return denials.poll(nowMs) !== undefined;
    };
    assertRate(rate, rate, next);
    // What one peer is told of its own is bounded as well.
    const bed = new Bed();
    for (let i = 0; i < 3 * rate; i++) bed.deny();
    assertEquals(bed.told, Array(burstOf(rate)).fill("denied"));
  },
  MAX_VIOLATION_REPORTS_PER_S: () => {
    const rate = limits.MAX_VIOLATION_REPORTS_PER_S;
    const violations = new Violations();
    let handle = 0;
    const next = (nowMs: number) => {
      violations.record({
        peer: 1,
        handle: handle++,
        componentId: handle % 60_000,
        field: 0,
        check: "speed",
        measured: 2,
        limit: 1,
        action: "reject",
        count: 1,
      });
      return violations.poll(nowMs) !== undefined;
    };
    assertRate(burstOf(rate), rate * limits.RATE_TOLERANCE, next);
  },
  MAX_FAULTS_PER_S: () => {
    const bed = new Bed();
    const burst = burstOf(limits.MAX_FAULTS_PER_S);
    for (let i = 0; i < burst; i++) bed.peer.link.countFault(Fault.Truncated, 0);
    assertEquals(bed.closes, []);
    for (let i = 0; i < burst; i++) bed.peer.link.countFault(Fault.Truncated, 0);
    assertEquals(bed.closes, [Fault.Flood], "one more ends the connection, once");
    // So many as a bad path makes go on for ever.
    const slow = new Bed();
    for (let i = 0; i < SECONDS * limits.MAX_FAULTS_PER_S; i++) {
      slow.peer.link.countFault(Fault.Truncated, i * 1_000 / limits.MAX_FAULTS_PER_S);
    }
    assertEquals(slow.closes, []);
  },
  MAX_PEER_DENIALS_PER_S: () => {
    const bed = new Bed();
    const flood = `fault.${faultName(Fault.Flood)}`;
    const burst = burstOf(limits.MAX_PEER_DENIALS_PER_S);
    for (let i = 0; i < burst; i++) bed.deny();
    assertEquals(bed.state.counters.get(flood), 0);
    bed.deny();
    assertEquals(bed.state.counters.get(flood), 1);
    for (let i = 0; i < burst; i++) bed.deny();
    assertEquals(bed.closes, [Fault.Flood], "and goes on to end the connection");
  },
  MAX_STRAY_REFUSALS_PER_S: () => {
    const pair = new Pair({ grants: GRANTS, seed: 33, clients: 0 });
    pair.start();
    pair.run(500);
    const raw = new RawPeer(pair).join();
    const { peer, grantEpoch, entityIds } = raw.accepted!;
    const burst = burstOf(limits.MAX_STRAY_REFUSALS_PER_S);
    const strange = Array.from({ length: 2_000 }, (_, i) => i + 1)
      .filter((id) => !entityIds.includes(id)).slice(0, 4 * burst);
    for (let i = 0; i < strange.length; i += burst) {
      const ids = strange.slice(i, i + burst);
      raw.send(raw.datagram({ snapshot: aliveHeaders(grantEpoch, ids, peer) }));
    }
    pair.run(200);
    const told = raw.of("spawnRefused").length;
    // A few more may have come by while they arrived.
    assert(
      told >= burst && told <= burst + 0.2 * 1.25 * limits.MAX_STRAY_REFUSALS_PER_S,
      `${told}`,
    );
  },
};
