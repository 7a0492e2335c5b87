// What may be said on channels between this end and a peer: by the roles at both ends, and how often. It opens and closes nothing; every
// answer is a rule or none.

import {
  MAX_CHANNEL_OPENS_PER_S,
  MAX_OPEN_CHANNELS,
  RATE_TOLERANCE,
  STREAM_STALL_MS,
} from "../protocol/limits.ts";
import type { ChannelGrant, Grants } from "../permissions/grants.ts";
import type { Gate } from "../permissions/gate.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import { Rule } from "../permissions/rule.ts";
import type { ChannelPeer } from "./channel_table.ts";

/** Peer ids have 16 bits. */
const PEER_KEYS = 0x1_0000;

/** Time, ms, in which as many channels may be opened as a peer may have: at once, that is. */
const OPENS_AT_ONCE_MS = MAX_OPEN_CHANNELS * 1000 / (MAX_CHANNEL_OPENS_PER_S * RATE_TOLERANCE);

/** The rights and rates of one driver's channels. */
export class ChannelRights {
  readonly #gate: Gate;
  /** One limiter a declaration and direction, keyed by peer. */
  readonly #out: RateLimiter[];
  readonly #in: RateLimiter[];
  /** How often each peer opens channels, keyed by peer: every one is news for the engine. */
  readonly #opens = new RateLimiter({
    rateHz: MAX_CHANNEL_OPENS_PER_S,
    maxKeys: PEER_KEYS,
    stallMs: OPENS_AT_ONCE_MS,
  });

  /** Rates begin unused. */
  constructor({ channels }: Grants, gate: Gate) {
    this.#gate = gate;
    const maxKeys = PEER_KEYS;
    this.#out = channels.map(({ rateHz }) => new RateLimiter({ rateHz, maxKeys }));
    this.#in = channels.map(({ rateHz, mode }) =>
      new RateLimiter({ rateHz, maxKeys, stallMs: mode === "reliable" ? STREAM_STALL_MS : 0 })
    );
  }

  /** Whether anything may pass on the channel, either way. */
  mayUse(grant: ChannelGrant, peer: ChannelPeer): boolean {
    return this.whyNot(grant, peer, "out") === undefined ||
      this.whyNot(grant, peer, "in") === undefined;
  }

  /** Why no message may go this way over a channel between this end and the peer. */
  whyNot(grant: ChannelGrant, peer: ChannelPeer, direction: "in" | "out"): Rule | undefined {
    const { localRole, remoteRole } = peer;
    const [sender, receiver] = direction === "out"
      ? [localRole, remoteRole]
      : [remoteRole, localRole];
    const question = { channel: grant.index, direction, bytes: 0 } as const;
    const sent = this.#gate.decideChannel({ ...question, op: "send", roleIndex: sender });
    if (!sent.allowed) return sent.rule;
    const received = this.#gate.decideChannel({
      ...question,
      op: "receive",
      roleIndex: receiver,
    });
    return received.allowed ? undefined : received.rule;
  }

  /** Why a message may not begin now; one that may is counted. */
  begin(
    grant: ChannelGrant,
    peer: ChannelPeer,
    direction: "in" | "out",
    nowMs: number,
  ): Rule | undefined {
    const rule = this.whyNot(grant, peer, direction);
    if (rule !== undefined) return rule;
    const limit = direction === "in" ? this.#in[grant.index]! : this.#out[grant.index]!;
    return limit.take(peer.peer, nowMs) ? undefined : Rule.Rate;
  }

  /** Whether the peer may open a channel now, and not later; one that may is counted. */
  takeOpen(peer: number, nowMs: number): boolean {
    return this.#opens.take(peer, nowMs);
  }

  /** The peer is gone; its id will be another's. */
  forget(peer: number): void {
    for (const limit of [...this.#in, ...this.#out, this.#opens]) limit.forget(peer);
  }
}
