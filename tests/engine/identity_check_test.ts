import { assertEquals, assertThrows } from "@std/assert";
import type { IdentityTools } from "../../engine/identity_check.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { encodeJoinProof } from "../../session/join_proof.ts";
import { helloOf, joinedOf, LINK_GRANTS, LinkBed } from "../support/fake_driver.ts";
import {
  isSignedBy,
  ISSUED_S,
  TEST_PIN,
  TestKey,
  tokenBytes,
  tokenOf,
  type TokenParts,
} from "../support/join_keys.ts";
import { sha256 } from "../support/pair.ts";

type Identity = Extract<ToEngine, { kind: "identity" }>;

const ISSUER = new TestKey(1);
const HOLDER = new TestKey(2);
const TOOLS: IdentityTools = {
  sha256,
  unixMs: () => (ISSUED_S + 5) * 1_000,
  verifyEd25519: isSignedBy,
};
const SPECTATOR = 2;

/** A server's engine whose driver has joined, in a world that takes the issuer's tokens. */
function serverBed(options: { anonymous?: boolean; nonces?: Uint8Array } = {}): LinkBed {
  const { anonymous = true, nonces } = options;
  const grants = { ...LINK_GRANTS, identity: { anonymous, issuers: [ISSUER.x] } };
  const bed = new LinkBed("server", { grants, identityTools: TOOLS, nonces });
  bed.link.onIdentity = (peer, { subject, key, role }) => {
    assertEquals(key, HOLDER.publicKey);
    bed.log.push(`${peer} is ${subject}, a ${role}`);
  };
  bed.join(0);
  bed.takeLog();
  return bed;
}

/** What an honest driver shows of a spectator's token. */
function shown(bed: LinkBed, peer: number, parts: TokenParts = {}, key = HOLDER): Identity {
  const challenge = new Uint8Array(32).fill(6);
  const schemaHash = Uint8Array.fromHex(bed.grants.schemaHash);
  const token = tokenOf(ISSUER, HOLDER, {
    ...parts,
    claims: { role: "spectator", ...parts.claims },
  });
  return {
    kind: "identity",
    peer,
    token: tokenBytes(token),
    challenge,
    pin: TEST_PIN,
    signature: key.sign(encodeJoinProof({ challenge, pin: TEST_PIN, schemaHash })),
  };
}

/** The driver's word that a peer is here as a spectator. */
function joins(bed: LinkBed, peer: number): string[] {
  bed.say({ kind: "peerJoin", peer, roleId: SPECTATOR, resumed: false });
  return bed.takeLog();
}

/** The lines that name players. */
function seen(log: readonly string[]): string[] {
  return log.filter((line) => line.startsWith("player"));
}

Deno.test("EngineLink believes a peer's role, when the token and the proof hold before its own eyes", () => {
  const bed = serverBed();
  bed.say(shown(bed, 5));
  assertEquals(joins(bed, 5), ["5 is alice, a spectator", "player 5 spectator"]);
});

Deno.test("EngineLink gives a peer the default role, when its driver claims another without a token", () => {
  const bed = serverBed();
  assertEquals(seen(joins(bed, 5)), ["player 5 player"]);
  assertEquals(bed.link.stats.denials, 1);
});

Deno.test("EngineLink believes no role, when what its driver shows does not hold", () => {
  const signed = (bed: LinkBed) => shown(bed, 5);
  const forgeries: ((bed: LinkBed) => Identity)[] = [
    (bed) => shown(bed, 5, {}, new TestKey(3)),
    (bed) => shown(bed, 5, { header: { kid: new TestKey(3).x } }),
    (bed) => shown(bed, 5, { claims: { world: "elsewhere" } }),
    (bed) => shown(bed, 5, { claims: { exp: ISSUED_S - 60, iat: ISSUED_S - 90 } }),
    (bed) => shown(bed, 5, { claims: { role: "server" } }),
    (bed) => ({ ...signed(bed), token: Uint8Array.of(1) }),
    (bed) => ({ ...signed(bed), challenge: new Uint8Array(32) }),
    (bed) => ({ ...signed(bed), pin: new Uint8Array(32) }),
    (bed) => ({ ...signed(bed), token: signed(bed).token.slice(0, -1) }),
    (bed) => ({ ...signed(bed), peer: 0 }),
    (bed) => ({ ...signed(bed), peer: 0xffff }),
  ];
  forgeries.forEach((forge, index) => {
    const bed = serverBed();
    bed.say(forge(bed));
    const log = joins(bed, 5).filter((line) => !line.startsWith("denied"));
    assertEquals(log, ["player 5 player"], `forgery ${index}`);
  });
});

Deno.test("EngineLink takes a token once, when its driver shows it for another peer, or the next driver does", () => {
  const bed = serverBed();
  bed.say(shown(bed, 5));
  joins(bed, 5);
  bed.say(shown(bed, 6));
  assertEquals(seen(joins(bed, 6)), ["player 6 player"]);
  bed.hangUp();
  bed.connect();
  bed.say(helloOf(bed.grants, "server"));
  assertEquals(bed.heardOf("welcome")[0]!.nonces.length, 20);
  bed.say(joinedOf(0));
  bed.say(shown(bed, 7));
  assertEquals(seen(joins(bed, 7)), ["player 7 player"]);
  bed.say(shown(bed, 8, { claims: { jti: "another" } }));
  assertEquals(joins(bed, 8).at(-1), "player 8 spectator");
});

Deno.test("EngineLink sees nobody who has proven nothing, where all must, and has the driver remove it", () => {
  const bed = serverBed({ anonymous: false });
  assertEquals(seen(joins(bed, 5)), []);
  assertEquals(bed.link.peers, []);
  assertEquals(bed.heardOf("kick").map(({ peer }) => peer), [5]);
  bed.say(shown(bed, 6));
  assertEquals(joins(bed, 6).at(-1), "player 6 spectator");
  // Also when another driver says that it is still there.
  bed.hangUp();
  bed.join(0, { resumed: true });
  bed.takeLog();
  bed.say({ kind: "peerJoin", peer: 6, roleId: SPECTATOR, resumed: true });
  assertEquals(bed.link.peers, [6]);
  assertEquals(bed.heardOf("kick"), []);
});

Deno.test("EngineLink refuses a token used before it began, when it was given `usedNonces` of then", () => {
  const first = serverBed();
  first.say(shown(first, 5));
  joins(first, 5);
  const saved = first.link.usedNonces;
  assertEquals(saved.length, 20);
  // The same token again, before an engine that knows nothing and one that was told.
  const forgetful = serverBed();
  forgetful.say(shown(forgetful, 5));
  assertEquals(seen(joins(forgetful, 5)), ["player 5 spectator"]);
  const second = serverBed({ nonces: saved });
  second.say(shown(second, 5));
  assertEquals(seen(joins(second, 5)), ["player 5 player"]);
  assertEquals(second.link.usedNonces, saved);
  // And its first driver hears of it in the welcome.
  assertEquals(second.heardOf("welcome")[0]!.nonces, saved);
  assertThrows(() => serverBed({ nonces: saved.slice(1) }), RangeError, "usedNonces");
});

Deno.test("EngineLink keeps of a driver's nonces those of tokens that it saw, and counts the others", () => {
  const bed = serverBed();
  bed.say(shown(bed, 5));
  const kept = bed.link.usedNonces;
  bed.say({ kind: "nonces", used: kept });
  assertEquals(bed.link.stats.denials, 0);
  bed.say({ kind: "nonces", used: new Uint8Array(200).fill(0xff) });
  assertEquals(bed.link.usedNonces, kept);
  assertEquals(bed.link.denialTotals.get("role peer 0"), 1);
});

Deno.test("EngineLink believes no change of identity, when the peer is here already", () => {
  const bed = serverBed();
  joins(bed, 5);
  bed.say(shown(bed, 5));
  bed.say({ kind: "roleChanged", peer: 5, roleId: SPECTATOR });
  assertEquals(bed.takeLog().filter((line) => !line.startsWith("denied")), []);
});

Deno.test("EngineLink believes nobody, when it has nothing to check signatures with", () => {
  const grants = { ...LINK_GRANTS, identity: { anonymous: false, issuers: [ISSUER.x] } };
  const bed = new LinkBed("server", { grants });
  bed.join(0);
  bed.takeLog();
  bed.say(shown(bed, 5));
  assertEquals(seen(joins(bed, 5)), ["player 5 player"]);
});
