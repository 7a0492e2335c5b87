import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type ControlDirection,
  type ControlMessage,
  decodeControl,
  encodeControl,
} from "../../protocol/control_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  MAX_CONTROL_MESSAGE_BYTES,
  MAX_ENTITY_BLOCK,
  MAX_PEERS,
  MAX_REASON_BYTES,
} from "../../protocol/limits.ts";
import {
  CONTROL_SAMPLES,
  messageFromAuthority,
  messageToAuthority,
} from "../support/control_samples.ts";
import { bitFlipsOf, joinBytes, truncationsOf } from "../support/hostile_bytes.ts";

function faultOf(bytes: Uint8Array, direction: ControlDirection): Fault | undefined {
  const result = decodeControl(bytes, direction);
  return result.ok ? undefined : result.fault;
}

/** Encodes and changes some bytes of the body, given by position. */
function forge(message: ControlMessage, changes: Record<number, number>): Uint8Array {
  const bytes = encodeControl(message);
  for (const [at, value] of Object.entries(changes)) bytes[Number(at)] = value;
  return bytes;
}

/** Accepts or names a fault; what it accepts has no other encoding. */
function checkTotal(bytes: Uint8Array): void {
  for (const direction of ["toAuthority", "fromAuthority"] as const) {
    const result = decodeControl(bytes, direction);
    if (result.ok) assertEquals([...encodeControl(result.message)], [...bytes]);
    else assert(Object.values(Fault).includes(result.fault));
  }
}

Deno.test("`decodeControl()` gives back every kind, when `encodeControl()` wrote it", () => {
  for (const [direction, message] of CONTROL_SAMPLES) {
    assertEquals(decodeControl(encodeControl(message), direction), { ok: true, message });
  }
});

Deno.test("`decodeControl()` gives back what was sent, when messages are random", () => {
  fc.assert(fc.property(messageToAuthority, (message) => {
    assertEquals(decodeControl(encodeControl(message), "toAuthority"), { ok: true, message });
  }));
  fc.assert(
    fc.property(messageFromAuthority, (message) => {
      assertEquals(decodeControl(encodeControl(message), "fromAuthority"), { ok: true, message });
    }),
    { numRuns: 300 },
  );
});

Deno.test("`decodeControl()` is truncated, when any message is cut anywhere", () => {
  for (const [direction, message] of CONTROL_SAMPLES) {
    for (const cut of truncationsOf(encodeControl(message))) {
      assertEquals(
        faultOf(cut, direction),
        Fault.Truncated,
        `${message.kind} cut to ${cut.length}`,
      );
    }
  }
});

Deno.test("`decodeControl()` refuses leftovers, when a byte follows any message", () => {
  for (const [direction, message] of CONTROL_SAMPLES) {
    const longer = joinBytes(encodeControl(message), Uint8Array.of(0));
    assertEquals(faultOf(longer, direction), Fault.Trailing, message.kind);
  }
});

Deno.test("`decodeControl()` is total and canonical, when any single bit of any kind is flipped", () => {
  for (const [, message] of CONTROL_SAMPLES) {
    for (const flipped of bitFlipsOf(encodeControl(message))) checkTotal(flipped);
  }
});

Deno.test("`decodeControl()` is total and canonical, when bytes are random behind each kind", () => {
  fc.assert(
    fc.property(fc.nat(12), fc.uint8Array({ maxLength: 80 }), (code, rest) => {
      checkTotal(joinBytes(Uint8Array.of(code), rest));
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("`decodeControl()` refuses a kind, when it goes the wrong way or is not declared", () => {
  for (const [direction, message] of CONTROL_SAMPLES) {
    if (message.kind === "event" || message.kind === "bye") continue;
    const other = direction === "toAuthority" ? "fromAuthority" : "toAuthority";
    assertEquals(faultOf(encodeControl(message), other), Fault.Unexpected, message.kind);
  }
  for (const code of [0, 14, 255]) {
    assertEquals(faultOf(Uint8Array.of(code, 0, 0), "toAuthority"), Fault.UnknownKind);
  }
});

Deno.test("`decodeControl()` refuses another protocol version, when the rest would not even parse", () => {
  assertEquals(faultOf(Uint8Array.of(1, 1), "toAuthority"), Fault.Incompatible);
  assertEquals(faultOf(Uint8Array.of(1, 0), "toAuthority"), Fault.Incompatible);
});

Deno.test("`decodeControl()` refuses a name in an event, when a peer claims to be another", () => {
  const event = {
    kind: "event",
    eventId: 1,
    from: 4,
    time: 0,
    stateTicks: 0,
    payload: new Uint8Array(0),
  } as const;
  assertEquals(faultOf(encodeControl(event), "toAuthority"), Fault.NonCanonical);
  assertEquals(faultOf(encodeControl(event), "fromAuthority"), undefined);
});

Deno.test("`decodeControl()` refuses lists, when they are unsorted, doubled, or name slot 0", () => {
  const ids = (list: number[]) =>
    faultOf(encodeControl({ kind: "entityIds", ids: list }), "fromAuthority");
  assertEquals(ids([3, 4]), undefined);
  assertEquals(ids([4, 3]), Fault.NonCanonical);
  assertEquals(ids([3, 3]), Fault.NonCanonical);
  assertEquals(ids([0]), Fault.OutOfRange);
  assertEquals(ids([0x00100000]), Fault.OutOfRange);
  assertEquals(ids([]), Fault.OutOfRange);
  const roster = (joins: number[], leaves: number[]) =>
    faultOf(
      encodeControl({ kind: "roster", joins: joins.map((peer) => ({ peer, roleId: 1 })), leaves }),
      "fromAuthority",
    );
  assertEquals(roster([1, 2], [3]), undefined);
  assertEquals(roster([2, 1], []), Fault.NonCanonical);
  assertEquals(roster([1, 1], []), Fault.NonCanonical);
  assertEquals(roster([], [2, 2]), Fault.NonCanonical);
  assertEquals(roster([1, 2], [2]), Fault.NonCanonical);
  assertEquals(roster([0xffff], []), Fault.OutOfRange);
});

Deno.test("`decodeControl()` refuses fields out of range, when single bytes are forged", () => {
  const role = { kind: "role", peer: 1, roleId: 1, grantEpoch: 0 } as const;
  assertEquals(faultOf(forge(role, { 1: 0xff, 2: 0xff }), "fromAuthority"), Fault.OutOfRange);
  const bye = { kind: "bye", code: 0, reason: "ab" } as const;
  assertEquals(faultOf(forge(bye, { 3: 0xff }), "fromAuthority"), Fault.NotUtf8);
  const event = {
    kind: "event",
    eventId: 1,
    from: 0,
    time: 0,
    stateTicks: 0,
    payload: new Uint8Array(0),
  } as const;
  assertEquals(faultOf(forge(event, { 8: 64 }), "fromAuthority"), Fault.OutOfRange);
  const soon = encodeControl({ ...event, stateTicks: 2_047 });
  assertEquals(faultOf(soon, "fromAuthority"), undefined);
  soon[10] = 0x10;
  assertEquals(faultOf(soon, "fromAuthority"), Fault.OutOfRange);
  const denied = CONTROL_SAMPLES.find(([, m]) => m.kind === "denied")![1];
  assertEquals(faultOf(forge(denied, { 2: 7 }), "fromAuthority"), Fault.UnknownKind);
  const none = encodeControl({
    ...denied as Extract<ControlMessage, { kind: "denied" }>,
    count: 0,
  });
  assertEquals(faultOf(none, "fromAuthority"), Fault.OutOfRange);
});

Deno.test("`decodeControl()` bounds counts before it loops, when a hostile list claims a million", () => {
  const claim = Uint8Array.of(6, 0xff, 0xff, 0x3f);
  assertEquals(faultOf(claim, "fromAuthority"), Fault.OutOfRange);
  assertEquals(faultOf(Uint8Array.of(4, 0xff, 0xff, 0x3f), "fromAuthority"), Fault.OutOfRange);
});

Deno.test("`encodeControl()` cuts a reason at a whole character, when it is too long", () => {
  const result = decodeControl(
    encodeControl({ kind: "bye", code: 66, reason: "ü".repeat(150) + "!" }),
    "toAuthority",
  );
  assert(result.ok && result.message.kind === "bye");
  assertEquals(result.message.reason, "ü".repeat(MAX_REASON_BYTES / 2));
});

Deno.test("`encodeControl()` stays within the frame limit, when messages are as large as they may be", () => {
  const roster = encodeControl({
    kind: "roster",
    joins: Array.from({ length: MAX_PEERS }, (_, peer) => ({ peer, roleId: 16_383 })),
    leaves: Array.from({ length: MAX_PEERS }, (_, i) => MAX_PEERS + i),
  });
  const block = Array.from({ length: MAX_ENTITY_BLOCK }, (_, i) => i + 1);
  const accepted = CONTROL_SAMPLES.find(([, m]) => m.kind === "accepted")![1];
  const largest = encodeControl({
    ...accepted as Extract<ControlMessage, { kind: "accepted" }>,
    entityIds: block,
  });
  assert(roster.length <= MAX_CONTROL_MESSAGE_BYTES && largest.length <= MAX_CONTROL_MESSAGE_BYTES);
  assert(decodeControl(roster, "fromAuthority").ok && decodeControl(largest, "fromAuthority").ok);
});
