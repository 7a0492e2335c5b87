// A connection that dies while a place is claimed: whatever was said and heard by then, the place is neither lost nor given twice, and what a
// stranger overheard of an older claim is worth nothing.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { ClientCore } from "../../driver/client_core.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { Prng } from "../../protocol/prng.ts";
import { disagreements } from "../support/agreement.ts";
import { driverGrants } from "../support/driver_world.ts";
import type { SimulatedPair } from "../../transport/simulated.ts";
import { HookedConnection } from "../support/hooked_connection.ts";
import { Pair, type PairNode } from "../support/pair.ts";
import { RawPeer } from "../support/raw_peer.ts";

/**
 * How a connection breaks: both ways of the path, or one of them, carry nothing more, and who does not hear finds out by silence; the client's
 * end closes it; or the client's driver dies, and the next one begins at once with what the engine has.
 */
const ENDS = ["path", "up", "down", "client", "driver"] as const;
type End = typeof ENDS[number];

/** A joined client with one entity, whose next connections break where the test says. */
class Dance {
  readonly pair: Pair;
  readonly client: PairNode<ClientCore>;
  readonly peer: number;
  readonly id: number;
  /** Breaks of the connections to come: how long after it was made, ms, and for whom. */
  readonly breaks: { readonly afterMs: number; readonly end: End }[] = [];
  /** Connections made. */
  connections = 0;
  readonly #left: number[] = [];

  constructor(seed: number, latencyMs = 20) {
    const grants = driverGrants({ tickHz: 10, resumeMs: 60_000 });
    const pair = new Pair({ grants, seed, clients: 1, conditions: { latencyMs } });
    this.pair = pair;
    this.client = pair.clients[0]!;
    pair.tap = {
      connection: (_client, connector, acceptor) => {
        this.connections += 1;
        const hooked = new HookedConnection(connector);
        const link = pair.links.get(this.client)!;
        const next = this.breaks.shift();
        if (next !== undefined) {
          const atMs = pair.network.now + 1 + next.afterMs;
          pair.network.at(atMs, () => this.#break(link, hooked, next.end));
        }
        return { connector: hooked, acceptor };
      },
      engineBytes: () => {},
    };
    this.breaks.push({ afterMs: 700, end: "client" });
    pair.start();
    pair.until("the client joined", () => this.client.core.isJoined);
    const avatar = this.client.engine.spawn({ Badge: { level: 1, by: 0 } });
    this.client.engine.flush();
    pair.run(400);
    this.peer = this.client.engine.peer!;
    this.id = this.client.engine.networkIdOf(avatar);
    assert(this.id !== 0);
    pair.server.engine.onPlayerLeave = (peer) => this.#left.push(peer);
  }

  #break(link: SimulatedPair, connector: HookedConnection, end: End): void {
    const { client } = this;
    if (end === "driver") {
      client.killDriver();
      client.startDriver();
    } else if (end === "client") {
      connector.cut();
    } else if (end === "path") {
      link.change({ lossRate: 1 });
    } else {
      link.change({ lossRate: 1 }, end);
    }
    client.pump();
  }

  /** Lets the breaks happen, and checks that the place is the same, held once, and works. */
  finish(what: string): void {
    const { pair, client, peer, id } = this;
    // Each break ends a connection, sooner or later; the last one made stays.
    const wanted = this.connections + this.breaks.length + 1;
    pair.until(
      `${what}: back`,
      () => this.connections === wanted && client.core.isJoined,
      120_000,
    );
    pair.run(400);
    const { core } = pair.server;
    assertEquals(client.engine.peer, peer, what);
    assertEquals(this.#left, [], what);
    assertEquals(core.counters.get("join.resumeRefused"), 0, what);
    assertEquals([core.usage.places, core.usage.secrets, core.counters.get("peers")], [1, 1, 1]);
    assertEquals([core.world.entityCount, core.world.owner(id)], [1, peer], what);
    assertEquals(disagreements(pair), [], what);
  }
}

Deno.test("ServerCore keeps a place, when the connection that claims it dies at any moment of the claim", () => {
  // With 20 ms of way: the join arrives after 20, its answer after 40, the first datagram after that.
  const counts = new Map<string, number>();
  for (const end of ENDS) {
    for (let afterMs = 0; afterMs <= 90; afterMs += 3) {
      const dance = new Dance(7);
      dance.breaks.push({ afterMs, end });
      dance.finish(`${end} breaks after ${afterMs} ms`);
      const resumed = dance.pair.server.core.counters.get("join.resumed");
      counts.set(`${end} ${resumed}`, (counts.get(`${end} ${resumed}`) ?? 0) + 1);
    }
  }
  // Each kind of break hit claims before the server took them, and after it; the way down carries nothing before.
  const wanted = ENDS.flatMap((end) => [`${end} 1`, `${end} 2`]).filter((one) => one !== "down 1");
  assertEquals([...counts.keys()].sort(), wanted.sort());
});

Deno.test("ServerCore never loses a place nor gives it twice, when claims break at random, 500 seeds", () => {
  let [breaks, again] = [0, 0];
  for (let seed = 1; seed <= 500; seed++) {
    const prng = new Prng(seed);
    const dance = new Dance(seed, 5 + prng.nextBelow(40));
    const count = 1 + prng.nextBelow(4);
    for (let i = 0; i < count; i++) {
      // Mostly the kinds of which both ends hear soon: silence takes long.
      const end = ENDS[prng.nextBelow(4) === 0 ? prng.nextBelow(3) : 3 + prng.nextBelow(2)]!;
      dance.breaks.push({ afterMs: prng.nextBelow(150), end });
    }
    breaks += count;
    dance.finish(`seed ${seed}`);
    again += dance.pair.server.core.counters.get("join.resumed") - 1;
  }
  // Many breaks came after the server had taken the claim: there the place would be lost, were a secret good for one claim.
  assert(again > breaks / 4, `${again} of ${breaks}`);
});

/** A joined peer that speaks the protocol itself, and its secret. */
function rawPlace(seed: number) {
  const pair = new Pair({ grants: driverGrants(), seed, clients: 0 });
  pair.start().run(100);
  const first = new RawPeer(pair).join();
  const { peer, resumeSecret } = first.accepted!;
  const claim = (secret: Uint8Array) =>
    new RawPeer(pair).join({ resume: { peer, secret: secret.slice() } });
  return { pair, first, peer, secret: resumeSecret, claim };
}

Deno.test("ServerCore gives a place to the later of two claims with one secret, when the earlier has not spoken", () => {
  const { pair, first, peer, secret, claim } = rawPlace(6);
  const second = claim(secret);
  assertEquals([second.accepted!.peer, second.accepted!.resumed], [peer, true]);
  assertEquals(first.closed?.code, CloseCode.Replaced);
  const third = claim(secret);
  pair.run(100);
  assertEquals([third.accepted!.peer, third.accepted!.resumed], [peer, true]);
  assertEquals(second.closed?.code, CloseCode.Replaced);
  assertEquals(third.accepted!.resumeSecret, second.accepted!.resumeSecret);
  assertEquals([pair.server.core.usage.places, pair.server.core.usage.secrets], [1, 1]);
});

for (const how of ["datagram", "control message"] as const) {
  Deno.test(`ServerCore refuses a claimed secret, when a ${how} has come since`, () => {
    const { pair, secret, claim } = rawPlace(7);
    const second = claim(secret);
    if (how === "datagram") second.send(second.datagram({}));
    else {
      const { time } = second;
      const payload = new Uint8Array(1);
      // Undeclared, so refused; but said by who got the answer.
      second.tell({ kind: "event", eventId: 77, from: 0, time, stateTicks: 0, payload });
    }
    pair.run(100);
    const replay = claim(secret);
    pair.run(100);
    assertEquals(replay.accepted, undefined);
    assertEquals(replay.of("refused")[0]?.code, CloseCode.Credential);
    assertEquals(second.closed, undefined, "who has the place keeps it");
    assertEquals(pair.server.core.counters.get("join.resumeRefused"), 1);
    // What it was given instead is good, and is another.
    const next = second.accepted!.resumeSecret;
    assertNotEquals(next, secret);
    assertEquals(claim(next).accepted?.resumed, true);
  });
}

Deno.test("ServerCore is not deceived, when a replaced connection goes on speaking", () => {
  const { pair, peer, secret, claim } = rawPlace(8);
  let stubborn!: HookedConnection;
  const second = new RawPeer(pair, (acceptor) => {
    // Its end of the connection outlives the close, as bytes under way do.
    stubborn = new HookedConnection(acceptor, { survives: () => true });
    return stubborn;
  }).join({ resume: { peer, secret: secret.slice() } });
  const third = claim(secret);
  assertEquals(stubborn.closes, [CloseCode.Replaced]);
  // It must not make the claimed secret void for `third`, which might not have got its answer.
  stubborn.injectDatagram(second.datagram({}));
  pair.run(100);
  assertEquals(third.closed, undefined);
  assertEquals(claim(secret).accepted?.resumed, true);
});

Deno.test("ServerCore takes no claim with a secret of a peer that left", () => {
  const { pair, first, secret, claim } = rawPlace(9);
  first.bye();
  pair.run(200);
  assertEquals(claim(secret).of("refused")[0]?.code, CloseCode.Credential);
  assertEquals(pair.server.core.usage.secrets, 0);
});
