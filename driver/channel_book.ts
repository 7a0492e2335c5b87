// The channels of one driver as both ways see them: which are open, where their messages come in, what the engine has to hear of them. It
// opens and closes; what may pass is asked elsewhere.

import type { Fault } from "../protocol/faults.ts";
import type { Grants } from "../permissions/grants.ts";
import type { Gate } from "../permissions/gate.ts";
import type { Rule } from "../permissions/rule.ts";
import { ChannelInlets } from "./channel_inlets.ts";
import { ChannelIntake } from "./channel_intake.ts";
import { ChannelReports } from "./channel_reports.ts";
import { ChannelRights } from "./channel_rights.ts";
import { type Channel, ChannelTable } from "./channel_table.ts";
import type { Counters } from "./counters.ts";

/** What the router reports, and the time it counts rates by. */
export interface ChannelEvents {
  /** The present time, ms. */
  now(): number;
  /** `pollReport` or `pollMessage` has something for the engine. */
  wake(): void;
  /** A message or channel was refused; `peer` is who tried. */
  denied(peer: number, rule: Rule, channelId: number, remote: boolean): void;
  /** A peer broke the protocol on a stream. */
  violation(peer: number, fault: Fault): void;
  /** A peer's stream took work that costs as much as so many bytes; false: it waits for `handlePeerReadable`. Left out: none does. */
  mayGoOn?(peer: number, cost: number): boolean;
}

/** Numbers with this bit are the driver's. */
export const OWN_NUMBER_BIT = 0x8000_0000;

/** See the head of this file. */
export class ChannelBook {
  readonly grants: Grants;
  readonly events: ChannelEvents;
  readonly counters: Counters;
  readonly rights: ChannelRights;
  readonly channels = new ChannelTable();
  readonly inlets = new ChannelInlets();
  readonly reports = new ChannelReports();
  #next = 1;

  /** Begins without a channel. */
  constructor(grants: Grants, gate: Gate, events: ChannelEvents, counters: Counters) {
    this.grants = grants;
    this.events = events;
    this.counters = counters;
    this.rights = new ChannelRights(grants, gate);
  }

  /** What a stream is read by: that of the channel with this id, or of one that its preamble will name. */
  intake(preamble: number | undefined): ChannelIntake {
    return new ChannelIntake({
      maxBytesFor: (id) =>
        this.grants.channels.find((c) => c.id === id && c.mode === "reliable")?.maxBytes,
      preamble,
    });
  }

  /** The number of another channel that the engine has not opened. */
  ownNumber(): number {
    const number = (OWN_NUMBER_BIT + this.#next) >>> 0;
    this.#next += 1;
    return number;
  }

  /** The engine's bytes have left: it may send as many more. */
  credit(channel: Channel, bytes: number): void {
    channel.outWindow += bytes;
    this.reports.credit(channel.number, bytes);
    this.events.wake();
  }

  /** Tells the engine that a channel is closed, whether it was ever open or not. */
  report(channel: number, reason: string): void {
    this.reports.close(channel, reason);
    this.events.wake();
  }

  /** Ends a channel and both ways of its stream at once. */
  cut(channel: Channel, code: number, reason: string): void {
    channel.inlet.stream?.reset(code);
    this.inlets.remove(channel.inlet);
    this.close(channel, reason);
  }

  /** Takes a channel out, and tells an engine that knows it. */
  close(channel: Channel, reason: string): void {
    if (!this.channels.remove(channel)) return;
    this.reports.forget(channel.number);
    if (channel.isKnown) this.report(channel.number, reason);
  }
}
