import { assertEquals, assertThrows } from "@std/assert";
import {
  JOIN_MESSAGE_BYTES,
  MAX_BYTES_BEFORE_JOIN,
  MAX_REASON_BYTES,
} from "../../protocol/limits.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import { encodeControl } from "../../protocol/control_messages.ts";
import { JoinAttempt } from "../../session/join_attempt.ts";

Deno.test("`JoinAttempt.handleBytes()` refuses bytes, when they are more than joining takes", () => {
  const attempt = new JoinAttempt(0);
  assertEquals(attempt.handleBytes(MAX_BYTES_BEFORE_JOIN - 1), true);
  assertEquals(attempt.handleBytes(2), false);
  assertEquals(attempt.handleBytes(1), true);
  assertEquals(attempt.handleBytes(1), false);
  assertEquals(attempt.room, MAX_BYTES_BEFORE_JOIN);
});

Deno.test("`JoinAttempt.spend()` never spends more than came", () => {
  const attempt = new JoinAttempt(0);
  assertThrows(() => attempt.spend(1));
  attempt.handleBytes(10);
  attempt.spend(4);
  assertEquals(attempt.room, 6);
  assertThrows(() => attempt.spend(7));
  attempt.spend(6);
  assertEquals(attempt.room, 0);
});

Deno.test("`JoinAttempt` gives its challenge out once, when it is answered", () => {
  const attempt = new JoinAttempt(0);
  assertEquals(attempt.stage, "join");
  assertThrows(() => attempt.takeChallenge());
  const challenge = new Uint8Array(32).fill(5);
  attempt.challenge(challenge);
  assertEquals(attempt.stage, "proof");
  assertThrows(() => attempt.challenge(challenge));
  assertEquals(attempt.takeChallenge(), challenge);
  assertEquals(attempt.stage, "judging");
  assertThrows(() => attempt.takeChallenge());
});

Deno.test("a join outweighs its challenge and the longest refusal together, so that both may be sent", () => {
  const bytes = (message: Parameters<typeof encodeControl>[0]) =>
    encodeControlFrame(encodeControl(message)).length;
  const reason = "x".repeat(MAX_REASON_BYTES);
  const out = bytes({ kind: "challenge", challenge: new Uint8Array(32) }) +
    bytes({ kind: "refused", code: 2 ** 30 - 1, reason });
  const join = bytes({
    kind: "join",
    protocolVersion: 2,
    schemaHash: new Uint8Array(32),
    credential: "token",
    resume: undefined,
  });
  assertEquals(join, JOIN_MESSAGE_BYTES + 2);
  assertEquals(out <= join, true, `${out} of ${join}`);
});
