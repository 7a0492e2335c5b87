// What a server keeps of one peer: its connection and control stream before and after joining, its link, and what it has been given.
// It decides nothing; `server_join.ts` and the core do.

import type { ControlMessage } from "../protocol/control_messages.ts";
import { encodeControl } from "../protocol/control_messages.ts";
import { ControlFrames, encodeControlFrame } from "../protocol/control_frames.ts";
import type { EntityId } from "../protocol/entity_id.ts";
import {
  MAX_DENIAL_REPORTS_PER_S,
  MAX_PEER_DENIALS_PER_S,
  MAX_STRAY_REFUSALS_PER_S,
  STREAM_STALL_MS,
} from "../protocol/limits.ts";
import type { Connection, Stream } from "../transport/connection.ts";
import type { Adjustments } from "../permissions/adjustments.ts";
import { RateLimiter } from "../permissions/rate_limiter.ts";
import type { Grants } from "../permissions/grants.ts";
import type { SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import type { SnapshotSender } from "../replication/snapshot_sender.ts";
import type { JoinAttempt } from "../session/join_attempt.ts";
import { EventQueue } from "../session/event_queue.ts";
import type { PendingEvent } from "./event_router.ts";
import type { ChannelPeer } from "./channel_table.ts";
import type { ChannelMessage, PeerLink } from "./peer_link.ts";
import type { PeerStreams } from "./peer_streams.ts";
import { StillViewer } from "../replication/still_viewer.ts";
import type { WorkBudget } from "./work_budget.ts";

/** A connection that has not joined yet. */
export interface HalfJoined {
  readonly connection: Connection;
  readonly frames: ControlFrames;
  control: Stream | undefined;
  /** How far its join has come, and what it may be sent. */
  readonly attempt: JoinAttempt;
  /** When it connected, ms. */
  readonly sinceMs: number;
  /** Closed, or about to be: nothing more of it counts. */
  isOver: boolean;
  /** Set once it has joined. */
  peer: ServerPeer | undefined;
}

/** A spawn whose component values have not all arrived. */
export interface PendingSpawn {
  readonly components: readonly number[];
  /** When it is refused though its components have not all arrived, ms. */
  readonly expiresMs: number;
  /** When it is refused because it is still one too many, ms. */
  readonly countedMs: number;
}

/** One joined peer. */
export class ServerPeer implements ChannelPeer {
  readonly peer: number;
  readonly connection: Connection;
  readonly control: Stream;
  readonly link: PeerLink;
  /** Its streams but the control stream. */
  readonly streams: PeerStreams;
  readonly sender: SnapshotSender;
  readonly receiver: SnapshotReceiver;
  /** The work that it may cause. */
  readonly work: WorkBudget;
  /** Entities for which that account was made. */
  workOwned = 0;
  /** What was granted to it and revoked from it while running. */
  readonly adjusted: Adjustments;
  readonly events: EventQueue<PendingEvent>;
  /** Ids handed to the peer and not used by it yet. */
  readonly freeIds: Set<EntityId>;
  /** Spawns under free ids, which bound them, that wait for their components. */
  readonly pendingSpawns = new Map<EntityId, PendingSpawn>();
  /** Event rates, one limiter an event type. */
  readonly eventLimits: RateLimiter[];
  /** How often the peer is told of denials. */
  readonly denialLimit = new RateLimiter({ rateHz: MAX_DENIAL_REPORTS_PER_S, maxKeys: 1 });
  /** How often it may be denied anything. */
  readonly offenceLimit = new RateLimiter({ rateHz: MAX_PEER_DENIALS_PER_S, maxKeys: 1 });
  /** How often it is told that an id was never its own. */
  readonly strayLimit = new RateLimiter({ rateHz: MAX_STRAY_REFUSALS_PER_S, maxKeys: 1 });
  role: number;
  grantEpoch: number;
  /** Where it was, and what that showed it. */
  readonly still: StillViewer = new StillViewer();
  /** The entity whose position is this peer's point of view and in whose zone it stands, 0 while it has none. */
  viewpoint: EntityId = 0;
  /** Something came from it after it was let in, so it holds the resume secret that it was given with that. */
  hasSecret = false;
  /** Entities that were taken from it, with the tick: what it wrote of them meanwhile is under way. */
  readonly taken = new Map<EntityId, number>();
  /** It did more than its share for too long: its connection is about to end. */
  isDropped = false;
  readonly localRole = 0;

  constructor(options: {
    peer: number;
    role: number;
    adjusted: Adjustments;
    connection: Connection;
    control: Stream;
    link: PeerLink;
    streams: PeerStreams;
    sender: SnapshotSender;
    receiver: SnapshotReceiver;
    work: WorkBudget;
    grants: Grants;
    freeIds: Set<EntityId>;
    grantEpoch: number;
  }) {
    this.peer = options.peer;
    this.role = options.role;
    this.adjusted = options.adjusted;
    this.connection = options.connection;
    this.control = options.control;
    this.link = options.link;
    this.streams = options.streams;
    this.sender = options.sender;
    this.receiver = options.receiver;
    this.work = options.work;
    this.freeIds = options.freeIds;
    this.grantEpoch = options.grantEpoch;
    this.events = new EventQueue<PendingEvent>();
    const { grants } = options;
    this.eventLimits = grants.events.map(({ rateHz }) =>
      new RateLimiter({ rateHz, maxKeys: 1, stallMs: STREAM_STALL_MS })
    );
  }

  get remoteRole(): number {
    return this.role;
  }

  openStream(): Stream {
    return this.streams.watch(this.connection.openStream());
  }

  queueMessage(message: ChannelMessage): boolean {
    return this.link.queueMessage(message, 0);
  }

  /** Sends one control message. */
  tell(message: ControlMessage): void {
    sendControl(this.control, message);
  }
}

/** Sends a control message to a connection that has not joined, if that makes no more bytes than it has sent; whether it did. */
export function tellStranger(half: HalfJoined, message: ControlMessage): boolean {
  const frame = encodeControlFrame(encodeControl(message));
  if (half.control === undefined || frame.length > half.attempt.room) return false;
  half.attempt.spend(frame.length);
  half.control.write(frame);
  return true;
}

/** Frames and writes one control message. */
export function sendControl(stream: Stream, message: ControlMessage): void {
  stream.write(encodeControlFrame(encodeControl(message)));
}
