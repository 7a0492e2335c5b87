import { assert, assertEquals, assertGreater } from "@std/assert";
import { readHeader, readSections } from "../../protocol/datagram.ts";
import { MAX_DATAGRAM_BYTES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { Reader } from "../../protocol/reader.ts";
import { ByteWindow } from "../../driver/byte_window.ts";
import type { Connection } from "../../transport/connection.ts";
import { driverGrants } from "../support/driver_world.ts";
import { Pair } from "../support/pair.ts";

/** What a join may take has been spent and has left the second by then, ms. */
const STEADY_MS = 4_000;

interface Sent {
  readonly atMs: number;
  readonly bytes: number;
}

/** Whether a datagram carries state. */
function hasState(bytes: Uint8Array): boolean {
  const reader = new Reader(bytes);
  assert(readHeader(reader) !== undefined);
  return readSections(reader)!.snapshot !== undefined;
}

/** The connection, and every datagram with state that its owner gives it. */
function watched(connection: Connection, onState: (bytes: number) => void): Connection {
  return new Proxy(connection, {
    get(target, key) {
      if (key === "sendDatagram") {
        return (bytes: Uint8Array) => {
          if (hasState(bytes)) onState(bytes.length);
          return target.sendDatagram(bytes);
        };
      }
      const member = Reflect.get(target, key, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** The most bytes that lie in any closed window of a second. */
function mostInASecond(sent: readonly Sent[]): number {
  let most = 0;
  let sum = 0;
  let first = 0;
  for (const { atMs, bytes } of sent) {
    sum += bytes;
    while (sent[first]!.atMs < atMs - 1_000) {
      sum -= sent[first]!.bytes;
      first += 1;
    }
    most = Math.max(most, sum);
  }
  return most;
}

Deno.test("datagrams with state to one peer keep to the budget and one packet in every second, when more waits than it carries", () => {
  let seed = 0;
  for (const budget of [4_000, 10_000, 24_000, 64_000]) {
    for (const lossRate of [0, 0.1]) {
      seed += 1;
      const grants = driverGrants({}, { limits: { peerBytesPerSecond: budget } });
      const conditions = { latencyMs: 20, jitterMs: 5, lossRate };
      const pair = new Pair({ grants, seed, clients: 1, conditions });
      const sent: Sent[] = [];
      pair.tap = {
        connection: (_client, connector, acceptor) => ({
          connector,
          acceptor: watched(acceptor, (bytes) => sent.push({ atMs: pair.network.now, bytes })),
        }),
        engineBytes: () => {},
      };
      pair.start().joinAll();
      const prng = new Prng(seed);
      const { engine } = pair.server;
      const blob = () => {
        const data = new Uint8Array(300);
        prng.fill(data);
        return { data };
      };
      const handles = Array.from({ length: 60 }, () => engine.spawn({ Blob: blob() }));
      // Twice it rests, so that a budget that was saved up would be spent at once.
      pair.play(STEADY_MS + 7_000, 31, (index) => {
        const isResting = index % 130 > 100;
        if (!isResting) { for (const handle of handles) engine.set(handle, "Blob", blob()); }
        engine.flush();
      });
      const steady = sent.filter(({ atMs }) => atMs >= STEADY_MS);
      const most = mostInASecond(steady);
      const context = `budget ${budget}, loss ${lossRate}, most ${most}`;
      assert(most <= budget + MAX_DATAGRAM_BYTES, context);
      // The budget is there to be used.
      if (lossRate === 0) assertGreater(most, 0.8 * budget, context);
    }
  }
});

Deno.test("`ByteWindow` sums what a scan of the last second sums, when sends are random", () => {
  const prng = new Prng(11);
  for (let run = 0; run < 30; run++) {
    const window = new ByteWindow();
    const sent: Sent[] = [];
    const pauseMs = [1, 4, 60, 900][run % 4]!;
    let now = 0;
    for (let i = 0; i < 600; i++) {
      now += prng.nextBelow(3) === 0 ? 0 : prng.nextBelow(pauseMs + 1);
      const bytes = 1 + prng.nextBelow(1_200);
      window.add(now, bytes);
      sent.push({ atMs: now, bytes });
      // Some sums are asked for seldom, so that the ring grows with what is old in it.
      if (prng.nextBelow(run % 3 === 0 ? 200 : 2) > 0) continue;
      const scanned = sent.reduce((sum, one) => one.atMs >= now - 1_000 ? sum + one.bytes : sum, 0);
      assertEquals(window.sum(now), scanned, `run ${run}, send ${i}`);
    }
  }
});
