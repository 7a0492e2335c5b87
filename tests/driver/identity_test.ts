import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CloseCode } from "../../protocol/close_codes.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import {
  type ControlMessage,
  encodeControl,
  type ProofMessage,
} from "../../protocol/control_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  JOIN_TIMEOUT_MS,
  MAX_BYTES_BEFORE_JOIN,
  MAX_HALF_JOINED,
  MAX_USED_NONCES,
  PROTOCOL_VERSION,
} from "../../protocol/limits.ts";
import { TokenRule } from "../../session/join_token.ts";
import { avatarAt, driverGrants } from "../support/driver_world.ts";
import {
  ISSUED_S,
  TEST_PIN,
  TestKey,
  tokenBytes,
  tokenOf,
  type TokenParts,
} from "../support/join_keys.ts";
import { Pair, PAIR_ORDER, type PairNode } from "../support/pair.ts";
import type { Connection } from "../../transport/connection.ts";
import { RawPeer } from "../support/raw_peer.ts";
import { truncationsOf } from "../support/hostile_bytes.ts";
import { TappedConnection } from "../support/tapped_connection.ts";
import type { ClientCore } from "../../driver/client_core.ts";

const ISSUER = new TestKey(1);
const HOLDER = new TestKey(2);
const THIEF = new TestKey(3);
const CLOSED = driverGrants({ identity: { anonymous: false, issuers: [ISSUER.x] } });
const OPEN = driverGrants({ identity: { anonymous: true, issuers: [ISSUER.x] } });
const ANYBODY = driverGrants();

let nonces = 0;

/** A token for the test world with a nonce of its own. */
function ticket(parts: TokenParts = {}, holder: TestKey = HOLDER): string {
  nonces += 1;
  const claims = { world: CLOSED.worldName, jti: `nonce-${nonces}`, ...parts.claims };
  return tokenOf(ISSUER, holder, { ...parts, claims });
}

/** A started server, on whose first second tokens are issued. */
function serverOf(grants = CLOSED, seed = 1): Pair {
  const pair = new Pair({ grants, seed, clients: 0 });
  pair.binding = TEST_PIN;
  pair.start();
  pair.run(100);
  return pair;
}

/** What the holder of a key signs to answer the challenge that the peer was given. */
function proofOf(
  peer: RawPeer,
  token: string,
  key: TestKey = HOLDER,
  change: { readonly pin?: Uint8Array; readonly schemaHash?: string } = {},
): ProofMessage {
  const domain = new TextEncoder().encode("SyncraEngine network driver, join proof, v1:\0\0\0\0");
  const bytes = new Uint8Array([
    ...domain,
    ...peer.of("challenge")[0]!.challenge,
    ...(change.pin ?? TEST_PIN),
    ...Uint8Array.fromHex(change.schemaHash ?? peer.pair.grants.schemaHash),
  ]);
  return { kind: "proof", token: tokenBytes(token), signature: key.sign(bytes) };
}

/** A peer that has been challenged. */
function challenged(pair: Pair): RawPeer {
  const peer = new RawPeer(pair).join({ credential: "token" });
  assertEquals(peer.of("challenge").length, 1);
  return peer;
}

/** How a peer's proof is answered: the name of its role, or the token rule that refuses it. */
function answerTo(pair: Pair, peer: RawPeer, proof: ProofMessage): string {
  const before = new Map(Object.values(TokenRule).map((rule) => [rule, refusals(pair, rule)]));
  peer.tell(proof);
  pair.until("an answer", () => peer.accepted !== undefined || peer.closed !== undefined);
  if (peer.accepted !== undefined) {
    const { roleId } = peer.accepted;
    return pair.grants.roles.find((role) => role.id === roleId)!.name;
  }
  assertEquals(peer.closed?.code, CloseCode.Credential);
  assertEquals(peer.of("refused").map(({ code }) => code), [CloseCode.Credential]);
  return Object.values(TokenRule).find((rule) => refusals(pair, rule) > before.get(rule)!) ?? "?";
}

function refusals(pair: Pair, rule: TokenRule): number {
  return pair.server.core.counters.get(`join.token.${rule}`);
}

/** A client whose engine has a token and signs with a key. */
function clientWith(pair: Pair, token: string, key: TestKey = HOLDER): PairNode<ClientCore> {
  const client = pair.addClient();
  client.engine.setConnect({ ...PAIR_ORDER, credential: tokenBytes(token) });
  client.engine.onSign = (bytes) => key.sign(bytes);
  return client;
}

Deno.test("ClientCore joins by its engine's token and signature, and has the token's role", () => {
  const pair = serverOf();
  const told: string[] = [];
  const { engine } = pair.server;
  engine.onIdentity = (peer, { subject, key, role }) => {
    told.push(`${peer} is ${subject}, a ${role}`);
    assertEquals(key, HOLDER.publicKey);
  };
  engine.onPlayerJoin = (peer, role) => told.push(`${peer} joins as ${role}`);
  const client = clientWith(pair, ticket({ claims: { role: "spectator" } }));
  client.start();
  pair.until("joined", () => client.core.isJoined);
  pair.run(100);
  assertEquals(client.engine.roleName, "spectator");
  const peer = client.engine.peer;
  assertEquals(told, [`${peer} is alice, a spectator`, `${peer} joins as spectator`]);
  assertEquals(client.engine.spawn(avatarAt(1)), 0, "a spectator has no avatar");
});

Deno.test("ServerCore admits a token's holder once, and again by the resume secret alone", () => {
  const pair = serverOf();
  const token = ticket();
  const first = challenged(pair);
  assertEquals(answerTo(pair, first, proofOf(first, token)), "player");
  const second = challenged(pair);
  assertEquals(answerTo(pair, second, proofOf(second, token)), TokenRule.Replay);
  const { peer, resumeSecret: secret } = first.accepted!;
  const back = new RawPeer(pair).join({ credential: "token", resume: { peer, secret } });
  assertEquals(back.accepted?.peer, peer);
  assertEquals(back.accepted?.resumed, true);
  assertEquals(back.of("challenge"), []);
});

Deno.test("ServerCore admits one of two, when a token is shown on two connections at once", () => {
  const pair = serverOf();
  pair.verifyMs = 50;
  const token = ticket();
  const peers = [challenged(pair), challenged(pair)];
  for (const peer of peers) peer.tell(proofOf(peer, token));
  pair.run(400);
  assertEquals(peers.map((peer) => peer.accepted !== undefined), [true, false]);
  assertEquals(refusals(pair, TokenRule.Replay), 1);
});

Deno.test("ServerCore refuses a stolen token, when its key, pin, world or challenge is not the one signed", () => {
  const pair = serverOf();
  const token = ticket();
  const old = challenged(pair);
  const forgeries: ((peer: RawPeer) => ProofMessage)[] = [
    (peer) => proofOf(peer, token, THIEF),
    (peer) => ({ ...proofOf(peer, token), signature: new Uint8Array(64) }),
    // The holder answered a server in the middle, which had a certificate of its own.
    (peer) => proofOf(peer, token, HOLDER, { pin: new Uint8Array(32).fill(1) }),
    (peer) => proofOf(peer, token, HOLDER, { schemaHash: "00".repeat(32) }),
    () => proofOf(old, token),
  ];
  for (const forge of forgeries) {
    const peer = challenged(pair);
    assertEquals(answerTo(pair, peer, forge(peer)), TokenRule.Proof);
  }
  assertEquals(answerTo(pair, old, proofOf(old, token)), "player", "nobody used it up");
});

Deno.test("ServerCore refuses a token and leaves it unused, when it does not fit", () => {
  const pair = serverOf();
  const jwk = { kty: "OKP", crv: "Ed25519", x: HOLDER.x };
  const good = ticket();
  const cases: [TokenRule, string][] = [
    [TokenRule.Format, "no token"],
    [TokenRule.Format, tokenOf(ISSUER, HOLDER, { header: { alg: "none" } })],
    [TokenRule.Issuer, tokenOf(THIEF, HOLDER)],
    [
      TokenRule.Signature,
      tokenOf(THIEF, HOLDER, {
        header: { kid: ISSUER.x },
        claims: { world: CLOSED.worldName },
      }),
    ],
    [TokenRule.Signature, good.replace(/\.[^.]*$/, `.${"A".repeat(86)}`)],
    [TokenRule.Expired, ticket({ claims: { iat: ISSUED_S - 600, exp: ISSUED_S - 60 } })],
    [TokenRule.NotYet, ticket({ claims: { nbf: ISSUED_S + 120 } })],
    [TokenRule.Life, ticket({ claims: { exp: ISSUED_S + 100_000 } })],
    [TokenRule.World, ticket({ claims: { world: "elsewhere" } })],
    [TokenRule.World, ticket({ claims: { world: "00".repeat(32) } })],
    [TokenRule.Pin, ticket({ claims: { pin: "00".repeat(32) } })],
    [TokenRule.Role, ticket({ claims: { role: "server" } })],
    [TokenRule.Role, ticket({ claims: { role: "admin" } })],
    [TokenRule.Proof, ticket({ claims: { cnf: { jwk: { ...jwk, x: THIEF.x } } } })],
  ];
  for (const [rule, token] of cases) {
    const peer = challenged(pair);
    assertEquals(answerTo(pair, peer, proofOf(peer, token)), rule, token);
    assertEquals(peer.of("refused")[0]!.reason.includes(token), false);
  }
  assertEquals(pair.server.core.counters.get("join.accepted"), 0);
  const last = challenged(pair);
  assertEquals(answerTo(pair, last, proofOf(last, good)), "player");
});

Deno.test("ServerCore takes a token by the world's schema hash, too, and within a minute of its end", () => {
  const pair = serverOf();
  const claims = { world: CLOSED.schemaHash, iat: ISSUED_S - 300, exp: ISSUED_S - 50 };
  const peer = challenged(pair);
  assertEquals(answerTo(pair, peer, proofOf(peer, ticket({ claims }))), "player");
});

Deno.test("ServerCore lets nobody in without a token, when the manifest says so, and anybody otherwise", () => {
  const code = (peer: RawPeer) => peer.of("refused")[0]?.code;
  assertEquals(code(new RawPeer(serverOf(CLOSED)).join()), CloseCode.Credential);
  assert(new RawPeer(serverOf(ANYBODY)).join().accepted !== undefined);
  assertEquals(
    code(new RawPeer(serverOf(ANYBODY)).join({ credential: "token" })),
    CloseCode.Credential,
  );
  const open = serverOf(OPEN);
  assert(new RawPeer(open).join().accepted !== undefined);
  const holder = challenged(open);
  const token = ticket({ claims: { role: "spectator" } });
  assertEquals(answerTo(open, holder, proofOf(holder, token)), "spectator");
});

Deno.test("ServerCore still refuses a replay, when its driver was restarted beside the same engine", () => {
  const pair = serverOf();
  const tokens = [ticket(), ticket()];
  for (const token of tokens) {
    const peer = challenged(pair);
    assertEquals(answerTo(pair, peer, proofOf(peer, token)), "player");
  }
  pair.server.restartDriver(50);
  pair.run(300);
  for (const token of tokens) {
    const peer = challenged(pair);
    assertEquals(answerTo(pair, peer, proofOf(peer, token)), TokenRule.Replay);
  }
  const fresh = challenged(pair);
  assertEquals(answerTo(pair, fresh, proofOf(fresh, ticket())), "player");
  pair.server.restartDriver(50);
  pair.run(300);
  const again = challenged(pair);
  assertEquals(answerTo(pair, again, proofOf(again, tokens[0]!)), TokenRule.Replay);
});

Deno.test("ClientCore comes back with a fresh token of its engine, when a restarted server knows no secret of before", () => {
  const pair = serverOf();
  const client = clientWith(pair, ticket());
  const sign = client.engine.onSign!;
  client.engine.onSign = (bytes, pin) => {
    const signature = sign(bytes, pin) as Uint8Array;
    return { signature, token: ticket() };
  };
  client.start();
  pair.until("joined", () => client.core.isJoined);
  pair.server.restartDriver(50);
  pair.until("lost", () => !client.core.isJoined);
  pair.until("back", () => client.core.isJoined, 20_000);
  assertEquals(pair.server.core.counters.get("join.accepted"), 1);
});

Deno.test("ServerCore does not use a token up, when the world is full", () => {
  const grants = driverGrants({
    maxPeers: 1,
    identity: { anonymous: true, issuers: [ISSUER.x] },
  });
  const pair = serverOf(grants);
  const token = ticket();
  const first = new RawPeer(pair).join();
  const second = challenged(pair);
  second.tell(proofOf(second, token));
  pair.until("refused", () => second.closed !== undefined);
  assertEquals(second.closed?.code, CloseCode.Full);
  first.bye();
  pair.run(100);
  const third = challenged(pair);
  assertEquals(answerTo(pair, third, proofOf(third, token)), "player");
});

Deno.test("ServerCore lets nobody in whose token it could not remember", () => {
  const pair = serverOf();
  const records = new Uint8Array(20 * MAX_USED_NONCES);
  const view = new DataView(records.buffer);
  for (let i = 0; i < MAX_USED_NONCES; i++) {
    view.setUint32(20 * i, i + 1);
    view.setUint32(20 * i + 16, ISSUED_S + 200, true);
  }
  const core = pair.server.core;
  // As an engine would give them back; the driver's own engine has none.
  pair.server.killDriver();
  pair.server.startDriver();
  assert(core !== pair.server.core);
  pair.server.core.handleEngine({
    kind: "welcome",
    linkVersion: 1,
    schemaHash: CLOSED.schemaHash,
    connect: undefined,
    resume: new Uint8Array(0),
    nonces: records,
    entities: new Uint32Array(0),
  }, pair.network.now);
  pair.run(100);
  const peer = challenged(pair);
  peer.tell(proofOf(peer, ticket()));
  pair.until("refused", () => peer.closed !== undefined);
  assertEquals(peer.closed?.code, CloseCode.Full);
  assertEquals(pair.server.core.counters.get("join.noncesFull"), 1);
  pair.run(205_000);
  const later = challenged(pair);
  assertEquals(answerTo(pair, later, proofOf(later, ticket())), "player");
});

Deno.test("ServerCore sends a stranger no more than it sent, whatever that was", () => {
  const pair = serverOf();
  const join = encodeControlFrame(encodeControl({
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: Uint8Array.fromHex(CLOSED.schemaHash),
    credential: "token",
    resume: undefined,
  }));
  const hostile = [
    ...truncationsOf(join),
    join,
    join.with(2, 99),
    join.with(3, 99),
    join.with(4, join[4]! ^ 1),
    join.with(36, 0),
    join.with(36, 7),
    join.with(37, 1),
    join.with(257, 1),
    ...Array.from({ length: 40 }, (_, i) => new Uint8Array(i + 1).fill(i * 37)),
  ];
  for (const bytes of hostile) {
    const peer = new RawPeer(pair);
    peer.control.write(bytes);
    pair.run(60);
    const out = peer.bytesFromServer + (peer.closed?.reason.length ?? 0);
    assert(out <= bytes.length, `${out} for ${bytes.length}`);
    peer.connection.close(0, "");
    pair.run(1);
  }
  assertEquals(pair.server.core.counters.get("join.accepted"), 0);
});

/** A way to fail at the door: what is said, one message after the other. */
type Failing = readonly [what: string, ...says: ((peer: RawPeer) => ControlMessage)[]];

const JOIN: ControlMessage = {
  kind: "join",
  protocolVersion: PROTOCOL_VERSION,
  schemaHash: Uint8Array.fromHex(CLOSED.schemaHash),
  credential: "token",
  resume: undefined,
};

const FAILING: readonly Failing[] = [
  ["nothing"],
  ["another version", () => ({ ...JOIN, protocolVersion: 99 })],
  ["another world", () => ({ ...JOIN, schemaHash: new Uint8Array(32) })],
  ["no token", () => ({ ...JOIN, credential: "none" })],
  ["a guessed secret", () => ({ ...JOIN, resume: { peer: 1, secret: new Uint8Array(32) } })],
  ["no proof", () => JOIN],
  [
    "no join first",
    () => ({ kind: "proof", token: tokenBytes("x"), signature: new Uint8Array(64).fill(9) }),
  ],
  ["a second join", () => JOIN, () => JOIN],
  ["a goodbye", () => JOIN, () => ({ kind: "bye", code: 0, reason: "" })],
  ["no token in the proof", () => JOIN, (peer) => proofOf(peer, "x")],
  ["a foreign issuer's token", () => JOIN, (peer) => proofOf(peer, tokenOf(THIEF, HOLDER))],
  [
    "an expired token",
    () => JOIN,
    (peer) => proofOf(peer, ticket({ claims: { iat: ISSUED_S - 600, exp: ISSUED_S - 60 } })),
  ],
  ["a stolen token", () => JOIN, (peer) => proofOf(peer, ticket(), THIEF)],
  ["two proofs", () => JOIN, (peer) => proofOf(peer, "x"), (peer) => proofOf(peer, ticket())],
];

Deno.test("ServerCore never has sent a stranger more than it got, at any step of any way to fail", () => {
  let challenges = 0;
  for (const [what, ...says] of FAILING) {
    // In one piece each, and cut short by silence within each message.
    for (const share of [1, 0.99, 0.5, 0]) {
      const pair = serverOf();
      const peer = new RawPeer(pair);
      let got = 0;
      const settle = (ms: number) => {
        pair.run(ms);
        const out = peer.bytesFromServer + (peer.closed?.reason.length ?? 0);
        assert(out <= got, `${what}, ${share}: ${out} for ${got}`);
      };
      says.forEach((say, i) => {
        if (peer.closed !== undefined) return;
        const frame = encodeControlFrame(encodeControl(say(peer)));
        const end = i === says.length - 1 ? Math.floor(frame.length * share) : frame.length;
        const step = Math.max(1, Math.floor(end / 7));
        for (let at = 0; at < end; at += step) {
          const bytes = frame.subarray(at, Math.min(end, at + step));
          got += bytes.length;
          peer.control.write(bytes);
          settle(i === says.length - 1 ? 3 : 15);
        }
        settle(80);
      });
      challenges += peer.of("challenge").length;
      settle(JOIN_TIMEOUT_MS + 100);
      assert(peer.closed !== undefined, `${what}: it is ended in time`);
      assertEquals([peer.accepted, peer.datagrams.length], [undefined, 0], what);
      assertEquals(pair.server.core.usage.strangers, 0, what);
    }
  }
  assert(challenges >= 20, `${challenges}`);
});

Deno.test("ServerCore tells a whole join why it is refused, and a silent connection nothing", () => {
  const pair = serverOf();
  const refused = new RawPeer(pair).join({ schemaHash: new Uint8Array(32) });
  assertStringIncludes(refused.of("refused")[0]!.reason, "both sides need the same one");
  const silent = new RawPeer(pair);
  pair.run(JOIN_TIMEOUT_MS + 200);
  assertEquals(silent.closed?.code, CloseCode.JoinTimeout);
  assertEquals(silent.closed?.reason, "");
  assertEquals(silent.bytesFromServer, 0);
});

Deno.test("ServerCore keeps nothing above its bound of a connection that has not joined", () => {
  const pair = serverOf();
  const flood = new RawPeer(pair);
  flood.control.write(new Uint8Array(MAX_BYTES_BEFORE_JOIN + 1).fill(0x80));
  pair.run(100);
  assertEquals(flood.closed?.code, Fault.OutOfRange);
  const slow = challenged(pair);
  for (let i = 0; i < 10; i++) slow.control.write(new Uint8Array(500).fill(0xff));
  pair.run(100);
  assertEquals(slow.closed?.code, Fault.OutOfRange);
  const token = ticket();
  const padded = new RawPeer(pair).join({ credential: "token" });
  const proof = proofOf(padded, token);
  // The longest token passes as far as the judge.
  padded.tell({ ...proof, token: new Uint8Array(4_096).fill(65) });
  pair.run(100);
  assertEquals(padded.closed?.code, CloseCode.Credential);
});

Deno.test("ServerCore bounds challenged connections in number and time", () => {
  const pair = serverOf();
  const waiting = Array.from({ length: MAX_HALF_JOINED }, () => new RawPeer(pair));
  for (const peer of waiting) {
    peer.tell({
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(CLOSED.schemaHash),
      credential: "token",
      resume: undefined,
    });
  }
  pair.run(200);
  assert(waiting.every((peer) => peer.of("challenge").length === 1));
  const over = new RawPeer(pair);
  pair.run(100);
  assertEquals(over.closed?.code, CloseCode.Full);
  pair.run(JOIN_TIMEOUT_MS);
  assert(waiting.every((peer) => peer.closed?.code === CloseCode.JoinTimeout));
  const next = challenged(pair);
  assertEquals(answerTo(pair, next, proofOf(next, ticket())), "player");
});

/** The server's end of a connection that comes from an address. */
function from(address: string): (acceptor: Connection) => Connection {
  return (acceptor) =>
    new Proxy(acceptor, {
      get: (target, key) => {
        if (key === "label") return address;
        const value = Reflect.get(target, key, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
}

Deno.test("ServerCore lets holders of tokens in at once, though one network's challenged connections hold every place", () => {
  const pair = serverOf();
  const ask = {
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: Uint8Array.fromHex(CLOSED.schemaHash),
    credential: "token",
    resume: undefined,
  } as const;
  let port = 1;
  const crowd: RawPeer[] = [];
  const come = () => {
    const peer = new RawPeer(pair, from(`198.51.100.*:${port++}`));
    crowd.push(peer);
    peer.tell(ask);
  };
  for (let i = 0; i < MAX_HALF_JOINED; i++) come();
  pair.run(200);
  assert(crowd.every((peer) => peer.of("challenge").length === 1));
  for (let i = 0; i < 5; i++) {
    const honest = new RawPeer(pair, from(`203.0.${i}.*:9`));
    honest.tell(ask);
    // The crowd goes on coming while the honest one answers.
    const deadline = pair.network.now + 1_000;
    while (honest.of("challenge").length === 0 && pair.network.now < deadline) {
      come();
      pair.run(10);
    }
    assertEquals(honest.of("challenge").length, 1, `${i}: it is asked for its proof`);
    const token = ticket({ claims: { jti: `honest ${i}` } });
    assertEquals(answerTo(pair, honest, proofOf(honest, token)), "player");
  }
  assert(pair.server.core.usage.strangers <= MAX_HALF_JOINED);
  assert(crowd.some((peer) => peer.closed?.code === CloseCode.Full));
});

Deno.test("ServerCore admits nobody, when the verdict comes after the connection's end", () => {
  const pair = serverOf();
  pair.verifyMs = 3_000;
  const gone = challenged(pair);
  const token = ticket();
  gone.tell(proofOf(gone, token));
  pair.run(500);
  gone.connection.close(0, "");
  const slow = challenged(pair);
  slow.tell(proofOf(slow, ticket()));
  pair.run(10_000);
  assertEquals(slow.closed?.code, CloseCode.JoinTimeout);
  assertEquals(pair.server.core.counters.get("join.accepted"), 0);
  assertEquals(pair.server.core.counters.get("peers"), 0);
});

Deno.test("ServerCore admits nobody, when it closes while a proof is judged", () => {
  const pair = serverOf();
  pair.verifyMs = 10;
  const peer = challenged(pair);
  peer.tell(proofOf(peer, ticket()));
  pair.run(25);
  pair.server.core.close("the operator stops it", pair.network.now);
  pair.run(500);
  assertEquals(peer.closed?.code, CloseCode.GoingAway);
  assertEquals(peer.accepted, undefined);
  assertEquals(pair.server.core.counters.get("join.accepted"), 0);
});

Deno.test("ServerCore refuses a proof out of place, twice, or cut short", () => {
  const pair = serverOf();
  const early = new RawPeer(pair);
  early.tell({ kind: "proof", token: new Uint8Array(300), signature: new Uint8Array(64) });
  pair.run(100);
  assertEquals(early.closed?.code, Fault.Unexpected);
  pair.verifyMs = 500;
  const eager = challenged(pair);
  const proof = proofOf(eager, ticket());
  eager.tell(proof);
  eager.tell(proof);
  pair.run(100);
  assertEquals(eager.closed?.code, Fault.Unexpected);
  pair.verifyMs = 0.2;
  const twice = challenged(pair);
  twice.tell({
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash: Uint8Array.fromHex(CLOSED.schemaHash),
    credential: "token",
    resume: undefined,
  });
  pair.run(100);
  assertEquals(twice.closed?.code, Fault.Unexpected);
  const joined = challenged(pair);
  const good = proofOf(joined, ticket());
  assertEquals(answerTo(pair, joined, good), "player");
  joined.tell(good);
  pair.run(100);
  assertEquals(joined.closed?.code, Fault.Unexpected);
  const token = ticket();
  for (const at of [1, 2, 3, 40, 300, 500, 600]) {
    const cut = challenged(pair);
    const frame = encodeControlFrame(encodeControl(proofOf(cut, token)));
    cut.control.write(frame.slice(0, Math.min(at, frame.length - 1)));
    cut.control.end();
    pair.run(100);
    assert(cut.closed !== undefined && cut.accepted === undefined);
  }
  const whole = challenged(pair);
  assertEquals(answerTo(pair, whole, proofOf(whole, token)), "player");
});

Deno.test("ClientCore says why it stays out, when its engine has no token, no signature, or its path no pin", () => {
  const left = (prepare: (pair: Pair, client: PairNode<ClientCore>) => void) => {
    const pair = serverOf();
    const client = clientWith(pair, ticket());
    const told: [number, string, boolean][] = [];
    client.engine.onLeft = (code, reason, final) => told.push([code, reason, final]);
    prepare(pair, client);
    client.start();
    pair.run(2_000);
    assertEquals(client.core.isJoined, false);
    assertEquals(told.length, 1);
    assertEquals([told[0]![0], told[0]![2]], [CloseCode.Credential, true]);
    return told[0]![1];
  };
  assertStringIncludes(left((_, { engine }) => engine.setConnect(PAIR_ORDER)), "engine has none");
  assertStringIncludes(left((_, { engine }) => engine.onSign = undefined), "gave no signature");
  assertStringIncludes(left((pair) => pair.binding = new Uint8Array(0)), "the server's pin");
  assertStringIncludes(
    left((_, { engine }) => engine.onSign = (bytes) => THIEF.sign(bytes)),
    "does not hold the join token's key",
  );
});

Deno.test("ClientCore leaves a server that challenges where it offered nothing, or twice", () => {
  for (const grants of [ANYBODY, CLOSED]) {
    const pair = new Pair({ grants, seed: 4, clients: 0 });
    const challenge = encodeControlFrame(
      encodeControl({ kind: "challenge", challenge: new Uint8Array(32) }),
    );
    const client = grants === ANYBODY ? pair.addClient() : clientWith(pair, ticket());
    pair.tap = {
      // The server of this connection is a test's.
      connection: (_client, connector, acceptor) => {
        acceptor.start({
          handleDatagram: () => {},
          handleStream: (stream) => {
            stream.write(challenge);
            if (grants === CLOSED) stream.write(challenge);
          },
          handleClosed: () => {},
        });
        const nobody = new TappedConnection(connector, () => {}, TEST_PIN);
        return { connector: nobody, acceptor: idleConnection(pair) };
      },
      engineBytes: () => {},
    };
    pair.binding = TEST_PIN;
    pair.start();
    pair.run(200);
    assertEquals(client.core.counters.get("fault.Unexpected"), 1);
    assertEquals(client.core.isJoined, false);
  }
});

/** The end of a connection on which nothing ever happens. */
function idleConnection(pair: Pair): Connection {
  return pair.network.connect(pair.conditions).acceptor;
}
