// What the parts of a client's core share: tables, timeline, handles, what waits for the engine, the link to the server while there is one,
// counters and denials. It decides nothing.

import { type Handle, SERVER_PEER, type ToEngine } from "../protocol/engine_messages.ts";
import { DENIAL_SUBJECTS } from "../protocol/denial_subjects.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import { Fault, faultName } from "../protocol/faults.ts";
import { LogCode } from "../protocol/log_codes.ts";
import { TimelineClock } from "../protocol/timeline_clock.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { Adjustments } from "../permissions/adjustments.ts";
import { Denials } from "../permissions/denials.ts";
import { Gate } from "../permissions/gate.ts";
import type { Grants } from "../permissions/grants.ts";
import { type Rule, ruleCode } from "../permissions/rule.ts";
import type { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import type { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { Connection, Stream } from "../transport/connection.ts";
import type { CoreEnvironment } from "./core.ts";
import { Counters } from "./counters.ts";
import { EngineOutbox, type StateSource } from "./engine_outbox.ts";
import { HandleTable } from "./handle_table.ts";
import { DEFAULT_LOG, type LogOptions, LogRing } from "./log_ring.ts";
import type { PeerLink } from "./peer_link.ts";
import type { DenialSubject } from "../protocol/denial_subjects.ts";

/** Everything that lives as long as one joined connection. */
export interface Joined {
  readonly peer: number;
  readonly connection: Connection;
  readonly control: Stream;
  readonly link: PeerLink;
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
}

/** The shared state of one client core. */
export class ClientState {
  readonly grants: Grants;
  readonly environment: CoreEnvironment;
  readonly gate: Gate;
  readonly clock: TimelineClock;
  readonly counters = new Counters();
  readonly log: LogRing;
  readonly handles = new HandleTable();
  readonly denials = new Denials();
  readonly outbox: EngineOutbox;
  /** The link, while this client is part of the world. */
  joined: Joined | undefined;
  /** Index of this client's role. */
  role: number;
  /** What was granted to this client and revoked from it while running. */
  readonly adjusted = new Adjustments();
  /** This client's peer id in the world it is in or was in last; the server's before the first. */
  peer = SERVER_PEER;

  /** Begins outside any world; the outbox takes its values from `source`. */
  constructor(
    grants: Grants,
    environment: CoreEnvironment,
    source: StateSource,
    log: LogOptions = DEFAULT_LOG,
  ) {
    this.grants = grants;
    this.environment = environment;
    this.log = new LogRing(log);
    this.gate = new Gate(grants);
    this.clock = new TimelineClock(grants.tickHz);
    this.role = grants.defaultRole;
    this.outbox = new EngineOutbox(grants, this.handles, source, this.counters);
  }

  /** The present time, ms. */
  get nowMs(): number {
    return this.environment.now();
  }

  /** The timeline's time, as far as this client knows it. */
  timeAt(nowMs: number): TimelineTime {
    return this.clock.timeAt(nowMs);
  }

  /** Queues a message for the engine. */
  push(message: ToEngine): void {
    this.outbox.push(message);
  }

  /** The server broke the protocol: the connection ends. */
  violate(connection: Connection | undefined, fault: Fault): void {
    this.counters.add(`fault.${faultName(fault)}`);
    this.log.write(LogCode.ServerFaulty, this.nowMs, fault);
    connection?.close(fault, faultName(fault));
  }

  /** Counts a refusal and tells the engine. */
  deny(
    rule: Rule,
    subject: DenialSubject,
    id: number,
    fields: number,
    entity: EntityId,
    peer: number,
    handle: Handle = this.handles.handleOf(entity),
  ): void {
    this.counters.add("denials");
    const report = { door: "driver", rule, peer, subject, id, fields, handle, count: 1 } as const;
    const subjectCode = DENIAL_SUBJECTS.indexOf(subject);
    this.log.write(LogCode.Denied, this.nowMs, peer, ruleCode(rule), subjectCode, id);
    this.denials.record(report, this.nowMs);
  }
}
