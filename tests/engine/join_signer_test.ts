import { assertEquals, assertThrows } from "@std/assert";
import type { SignAnswer } from "../../engine/link_events.ts";
import { Fault } from "../../protocol/faults.ts";
import { encodeJoinProof } from "../../session/join_proof.ts";
import { helloOf, joinedOf, LinkBed } from "../support/fake_driver.ts";
import { TEST_PIN } from "../support/join_keys.ts";

const SIGNATURE = new Uint8Array(64).fill(7);
const NOTHING = new Uint8Array(0);

/** A client's engine whose driver has been welcomed. */
function welcomed(pin = ""): LinkBed {
  const connect = { url: "quic://127.0.0.1:4433", pin, credential: NOTHING };
  const bed = new LinkBed("client", { connect });
  bed.connect();
  bed.say(helloOf(bed.grants, "client"));
  bed.takeLog();
  return bed;
}

function proofFor(bed: LinkBed, change: { pin?: Uint8Array; schemaHash?: Uint8Array } = {}) {
  return encodeJoinProof({
    challenge: new Uint8Array(32).fill(1),
    pin: TEST_PIN,
    schemaHash: Uint8Array.fromHex(bed.grants.schemaHash),
    ...change,
  });
}

function signed(request: number, signature: Uint8Array, credential: Uint8Array = NOTHING) {
  return { kind: "signed", request, credential, signature } as const;
}

Deno.test("EngineLink signs a join proof by `onSign`, when its driver asks before joining", () => {
  const bed = welcomed();
  const asked: [Uint8Array, string][] = [];
  bed.link.onSign = (bytes, pin) => {
    asked.push([bytes, pin]);
    return SIGNATURE;
  };
  bed.say({ kind: "sign", request: 5, bytes: proofFor(bed) });
  assertEquals(asked, [[proofFor(bed), TEST_PIN.toHex()]]);
  assertEquals(bed.heardOf("signed"), [signed(5, SIGNATURE)]);
  assertEquals(bed.takeLog(), []);
});

Deno.test("EngineLink passes a fresh token on, as text or bytes, when `onSign` gives one", () => {
  const bed = welcomed();
  const answers: SignAnswer[] = [
    { signature: SIGNATURE, token: "a.b.c" },
    { signature: SIGNATURE, token: Uint8Array.of(1) },
    { signature: SIGNATURE },
  ];
  bed.link.onSign = () => answers.shift();
  for (const request of [1, 2, 3, 4]) bed.say({ kind: "sign", request, bytes: proofFor(bed) });
  assertEquals(bed.heardOf("signed"), [
    signed(1, SIGNATURE, new TextEncoder().encode("a.b.c")),
    signed(2, SIGNATURE, Uint8Array.of(1)),
    signed(3, SIGNATURE),
    signed(4, NOTHING),
  ]);
});

Deno.test("EngineLink asks nobody and signs nothing, when the bytes are no join proof for its world and server", () => {
  const bed = welcomed(TEST_PIN.toHex());
  let asked = 0;
  bed.link.onSign = () => {
    asked += 1;
    return SIGNATURE;
  };
  const wrong = [
    Uint8Array.of(1),
    proofFor(bed).slice(1),
    proofFor(bed).fill(0, 0, 1),
    proofFor(bed, { schemaHash: new Uint8Array(32) }),
    proofFor(bed, { pin: new Uint8Array(32) }),
    new TextEncoder().encode("transfer all my money to the driver"),
  ];
  wrong.forEach((bytes, request) => bed.say({ kind: "sign", request, bytes }));
  assertEquals(asked, 0);
  assertEquals(bed.heardOf("signed"), wrong.map((_, request) => signed(request, NOTHING)));
  assertEquals(bed.link.stats.denials, wrong.length);
  bed.say({ kind: "sign", request: 9, bytes: proofFor(bed) });
  assertEquals(asked, 1);
});

Deno.test("EngineLink answers with nothing, when there is no `onSign`, it has none to give, or it is no signature", () => {
  const bed = welcomed();
  bed.say({ kind: "sign", request: 1, bytes: proofFor(bed) });
  const answers: SignAnswer[] = [
    new Uint8Array(63),
    { signature: SIGNATURE, token: "x".repeat(4_097) },
  ];
  bed.link.onSign = () => answers.shift();
  for (const request of [2, 3]) bed.say({ kind: "sign", request, bytes: proofFor(bed) });
  bed.link.onSign = () => {
    throw new Error("the key is locked");
  };
  assertThrows(() => bed.say({ kind: "sign", request: 4, bytes: proofFor(bed) }), Error, "locked");
  bed.listen();
  assertEquals(bed.heardOf("signed"), [1, 2, 3, 4].map((request) => signed(request, NOTHING)));
});

Deno.test("EngineLink answers when a promise is kept, and with nothing when it is broken or too many wait", async () => {
  const bed = welcomed();
  const promises = [1, 2, 3].map(() => Promise.withResolvers<SignAnswer | undefined>());
  let at = 0;
  bed.link.onSign = () => promises[at++]!.promise;
  for (const request of [1, 2, 3]) bed.say({ kind: "sign", request, bytes: proofFor(bed) });
  assertEquals(bed.heardOf("signed"), [signed(3, NOTHING)]);
  promises[1]!.reject(new Error("the card was pulled"));
  promises[0]!.resolve(SIGNATURE);
  await Promise.allSettled([promises[0]!.promise, promises[1]!.promise]);
  await Promise.resolve();
  bed.listen();
  assertEquals(bed.heardOf("signed").toSorted((a, b) => a.request - b.request), [
    signed(1, SIGNATURE),
    signed(2, NOTHING),
    signed(3, NOTHING),
  ]);
});

Deno.test("EngineLink gives a signature to no other driver, when the one that asked is gone", async () => {
  const bed = welcomed();
  const promise = Promise.withResolvers<SignAnswer | undefined>();
  bed.link.onSign = () => promise.promise;
  bed.say({ kind: "sign", request: 1, bytes: proofFor(bed) });
  bed.hangUp();
  bed.connect();
  bed.say(helloOf(bed.grants, "client"));
  promise.resolve(SIGNATURE);
  await promise.promise;
  await Promise.resolve();
  bed.listen();
  assertEquals(bed.heardOf("signed"), []);
});

Deno.test("EngineLink ends its driver, when it says what only the other role's driver may", () => {
  const client = welcomed();
  client.say({ kind: "nonces", used: new Uint8Array(20) });
  assertEquals(client.heardOf("goodbye").map(({ code }) => code), [Fault.Unexpected]);
  const server = new LinkBed("server");
  server.join(0);
  server.say({ kind: "sign", request: 1, bytes: proofFor(server) });
  assertEquals(server.heardOf("goodbye").map(({ code }) => code), [Fault.Unexpected]);
  const other = new LinkBed("client");
  other.join(4);
  other.say({
    kind: "identity",
    peer: 5,
    token: new Uint8Array(1),
    challenge: new Uint8Array(32),
    pin: new Uint8Array(32),
    signature: new Uint8Array(64),
  });
  assertEquals(other.heardOf("goodbye").map(({ code }) => code), [Fault.Unexpected]);
});

Deno.test("EngineLink gives used nonces to the next driver, when the one that reported them is gone", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  assertEquals(bed.heardOf("welcome")[0]!.nonces, NOTHING);
  bed.say({ kind: "nonces", used: new Uint8Array(20).fill(1) });
  bed.say({ kind: "nonces", used: new Uint8Array(40).fill(2) });
  bed.hangUp();
  bed.connect();
  bed.say(helloOf(bed.grants, "server"));
  const expected = new Uint8Array([...new Uint8Array(20).fill(1), ...new Uint8Array(20).fill(2)]);
  assertEquals(bed.heardOf("welcome")[0]!.nonces, expected);
  bed.say(joinedOf(0));
  assertEquals(bed.link.isJoined, true);
});
