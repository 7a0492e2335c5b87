/**
 * What an engine links against: the link to its driver, the world it must bring, and a small world to begin with.
 *
 * @module
 */

export { type ConnectOrder, type DenialReport, type Handle } from "../protocol/engine_messages.ts";
export { ALL_PEERS, SERVER_PEER } from "../protocol/engine_messages.ts";
export { Channel } from "./channel.ts";
export { EngineLink, type EngineLinkOptions } from "./engine_link.ts";
export { FlushPacer } from "./flush_pacer.ts";
export type { IdentityTools } from "./identity_check.ts";
export type { Hello } from "./hello_check.ts";
export {
  EngineCallbacks,
  type EventInfo,
  type IdentityInfo,
  type JoinedInfo,
  type SignAnswer,
  type ViolationInfo,
  type VoiceInfo,
} from "./link_events.ts";
export type { LinkCounters, LinkRole } from "./link_state.ts";
export {
  type CompiledManifest,
  EngineSocketError,
  listenForDriver,
  ListeningEngineLink,
  type ListenOptions,
} from "./listen.ts";
export type { LogEntry, LogPage, LogQuery } from "./log_reader.ts";
export type { LogLevel } from "../protocol/log_codes.ts";
export type { FieldRights } from "./peer_grants.ts";
export { FIRST_LOCAL_HANDLE, ReferenceWorld } from "./reference_world.ts";
export type { ChangeTime } from "./state_receiver.ts";
export type { Components } from "./state_sender.ts";
export type { ComponentValues, FieldValue } from "./values.ts";
export type { ChangeVisitor, WorldAdapter } from "./world_adapter.ts";
