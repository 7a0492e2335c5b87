// What every role writes into its log in the same way: how it began, what its engine brought, and the answer to an engine that reads it. Where
// peers come and go, the parts that see them write for themselves.

import type { ToDriver } from "../protocol/engine_messages.ts";
import { LogCode } from "../protocol/log_codes.ts";
import type { HelloFacts } from "./core.ts";
import type { ServerState } from "./server_state.ts";

/** What a report needs of a core's shared state, whatever its role. */
type Reporter = Pick<ServerState, "environment" | "grants" | "log" | "nowMs" | "push">;

/** A certificate that ends within this time, s, is told as a warning: a week is enough to renew it. */
const CERTIFICATE_NOTICE_S = 7 * 86_400;

/** Writes who this driver is: role, world, certificate. */
export function logStart(
  { environment, grants, log, nowMs }: Reporter,
  role: "server" | "client" | "loopback",
  facts: HelloFacts,
): void {
  log.write(LogCode.Started, nowMs, ["server", "client", "loopback"].indexOf(role));
  const hash = new DataView(Uint8Array.fromHex(grants.schemaHash).buffer);
  const [a, b, c, d] = [0, 4, 8, 12].map((at) => hash.getUint32(at));
  log.write(LogCode.Schema, nowMs, a, b, c, d);
  const until = facts.certificateUntilS;
  if (until === undefined) return;
  const isNear = until - environment.unixMs() / 1000 < CERTIFICATE_NOTICE_S;
  log.write(isNear ? LogCode.CertificateEnding : LogCode.CertificateUntil, nowMs, until);
}

/** Writes that the engine has welcomed this driver. */
export function logWelcome(
  { log }: Reporter,
  { entities, resume }: Extract<ToDriver, { kind: "welcome" }>,
  nowMs: number,
): void {
  log.write(LogCode.EngineLinked, nowMs, entities.length / 2, Number(resume.length > 0));
}

/** Gives the engine what it asks for. */
export function answerLog(
  state: Reporter,
  message: Extract<ToDriver, { kind: "readLog" }>,
  nowMs: number,
): void {
  const { entries, next } = state.log.read(message.level, message.since, nowMs);
  state.push({ kind: "log", request: message.request, entries, next });
}
