import { assert, assertAlmostEquals, assertEquals, assertGreater, assertLess } from "@std/assert";
import { IDLE_TIMEOUT_MS } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import type { Connection } from "../../transport/connection.ts";
import { type PairConditions, SimulatedNetwork } from "../../transport/simulated.ts";
import { TransportError, TransportErrorCode } from "../../transport/transport_error.ts";
import { testCompliance, type TestLink } from "./compliance.ts";
import { ConnectionRecorder, patternBytes, randomBytes } from "./recorder.ts";

/** Virtual time, ms, after which a condition will not come any more. */
const GIVE_UP_MS = 600_000;
const REST_MS = 3_000;

function openSimulated(conditions: PairConditions): () => Promise<TestLink> {
  return () => {
    const network = new SimulatedNetwork(5);
    const { connector, acceptor } = network.connect(conditions);
    return Promise.resolve({
      connector,
      acceptor,
      until: (condition, what) => {
        const giveUpMs = network.now + GIVE_UP_MS;
        while (!condition()) {
          if (network.now > giveUpMs || !network.step()) throw new Error(`never came: ${what}`);
        }
        return Promise.resolve();
      },
      rest: () => {
        network.advanceTo(network.now + REST_MS);
        return Promise.resolve();
      },
      dispose: () => {
        connector.close(0, "");
        acceptor.close(0, "");
        network.advanceTo(network.now + 2 * IDLE_TIMEOUT_MS);
        assertEquals(network.nextEventMs, undefined, "a closed link leaves nothing behind");
        return Promise.resolve();
      },
    });
  };
}

testCompliance("simulated (perfect)", openSimulated({}));
testCompliance(
  "simulated (far, narrow)",
  openSimulated({ latencyMs: 40, jitterMs: 10, bandwidthBytesPerSecond: 2_000_000 }),
);

/** A link with recorders at both ends. */
function connect(seed: number, conditions: PairConditions) {
  const network = new SimulatedNetwork(seed);
  const pair = network.connect(conditions);
  const near = new ConnectionRecorder(pair.connector).start();
  const far = new ConnectionRecorder(pair.acceptor).start();
  return { network, pair, near, far };
}

/** Sends `count` datagrams of 100 B, one a millisecond, numbered in their first four bytes, and waits for the last. */
function flood(network: SimulatedNetwork, from: ConnectionRecorder, count: number): void {
  for (let i = 0; i < count; i++) {
    const bytes = patternBytes(0, 100);
    new DataView(bytes.buffer).setUint32(0, i);
    from.send(bytes);
    network.advanceTo(network.now + 1);
  }
  network.advanceTo(network.now + 1_000);
}

const numberOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

Deno.test("`SimulatedNetwork` loses, repeats, reorders and damages datagrams at the rates it was given", () => {
  const count = 20_000;
  const rates = { lossRate: 0.05, duplicateRate: 0.03, reorderRate: 0.1, corruptRate: 0.02 };
  const { network, pair, near, far } = connect(11, { latencyMs: 20, ...rates });
  flood(network, near, count);
  const counters = pair.counters("up");
  assertAlmostEquals(counters.lost / counters.sent, 0.05, 0.006);
  assertAlmostEquals(counters.duplicated / count, 0.03, 0.006);
  assertAlmostEquals(counters.reordered / count, 0.1, 0.01);
  assertAlmostEquals(counters.corrupted / count, 0.02, 0.005);
  // What the receiver sees agrees with what the link says.
  const whole = patternBytes(4, 96).toHex();
  let damaged = 0;
  let late = 0;
  let newest = -1;
  const seen = new Map<number, number>();
  for (const bytes of far.datagrams) {
    assertEquals(bytes.length, 100);
    const number = numberOf(bytes);
    if (number >= count || bytes.subarray(4).toHex() !== whole) {
      damaged += 1;
      continue;
    }
    seen.set(number, (seen.get(number) ?? 0) + 1);
    if (number < newest) late += 1;
    newest = Math.max(newest, number);
  }
  assertAlmostEquals(1 - seen.size / count, 0.05 + 0.95 * 0.02, 0.01);
  assertGreater(damaged, 0.8 * counters.corrupted);
  assertLess(damaged, counters.corrupted + 1);
  // Held back by up to 10 ms on a link with one datagram a millisecond: most are overtaken.
  assertGreater(late, 0.05 * count);
});

Deno.test("`SimulatedNetwork` keeps latency and jitter, each direction its own, and no order is lost", () => {
  const { network, near, far } = connect(12, {
    up: { latencyMs: 30, jitterMs: 20 },
    down: { latencyMs: 5 },
  });
  const delays: { up: number[]; down: number[] } = { up: [], down: [] };
  const sentAt: number[] = [];
  far.onDatagram = (bytes) => {
    delays.up.push(network.now - sentAt[numberOf(bytes)]!);
    far.connection.sendDatagram(bytes);
    sentAt[numberOf(bytes)] = network.now;
  };
  near.onDatagram = (bytes) => delays.down.push(network.now - sentAt[numberOf(bytes)]!);
  for (let i = 0; i < 500; i++) {
    const bytes = new Uint8Array(10);
    new DataView(bytes.buffer).setUint32(0, i);
    sentAt[i] = network.now;
    near.send(bytes);
    network.advanceTo(network.now + 50);
  }
  network.advanceTo(network.now + 200);
  assertEquals(delays.up.length, 500);
  assertGreater(Math.min(...delays.up), 29.99);
  assertLess(Math.max(...delays.up), 50.01);
  assertAlmostEquals(delays.up.reduce((a, b) => a + b) / 500, 40, 1);
  assert(delays.down.every((ms) => Math.abs(ms - 5) < 1e-6));
  const order = near.datagrams.map(numberOf);
  assertEquals(order, [...order].sort((a, b) => a - b));
});

Deno.test("`SimulatedNetwork` holds bandwidth, and drops what the queue cannot take", () => {
  const { network, pair, near, far } = connect(13, {
    bandwidthBytesPerSecond: 100_000,
    queueBytes: 20_000,
  });
  // 250 kB a second for two seconds into 100 kB a second.
  for (let i = 0; i < 500; i++) {
    near.send(new Uint8Array(950));
    network.advanceTo(network.now + 4);
  }
  assertAlmostEquals(far.datagrams.length, 200, 25);
  assertGreater(pair.counters("up").overflowed, 250);
  network.advanceTo(network.now + 1_000);
  assertAlmostEquals(far.datagrams.length, 220, 3);
});

Deno.test("a stream over a bad simulated link arrives whole and in order, only later", () => {
  const durations: number[] = [];
  for (const lossRate of [0, 0.3]) {
    const { network, near, far } = connect(14, {
      latencyMs: 25,
      jitterMs: 10,
      lossRate,
      duplicateRate: 0.1,
      reorderRate: 0.1,
      corruptRate: 0.5,
    });
    const here = near.open();
    here.write(patternBytes(0, 1_000_000));
    here.end();
    while (far.streams[0]?.ended !== true) assert(network.step());
    assertEquals(far.streams[0]!.bytes, patternBytes(0, 1_000_000));
    durations.push(network.now);
  }
  assertGreater(durations[1]!, durations[0]! * 1.5);
});

Deno.test("a long transfer over a narrow simulated link delays datagrams by a few milliseconds only", () => {
  const { network, near, far } = connect(15, { latencyMs: 20, bandwidthBytesPerSecond: 1_000_000 });
  const here = near.open();
  here.write(patternBytes(0, 2_000_000));
  const delays: number[] = [];
  for (let i = 0; i < 100; i++) {
    const sentMs = network.now;
    far.onDatagram = () => delays.push(network.now - sentMs);
    near.send(new Uint8Array(100));
    network.advanceTo(network.now + 40);
  }
  assertEquals(delays.length, 100);
  assertLess(Math.max(...delays), 30);
  assertEquals(far.streams[0]!.received, 2_000_000);
});

Deno.test("conditions changed in flight count from then on", () => {
  const { network, pair, near, far } = connect(16, { latencyMs: 10 });
  near.send(new Uint8Array([1]));
  pair.change({ lossRate: 1 }, "up");
  near.send(new Uint8Array([2]));
  network.advanceTo(100);
  assertEquals(far.datagrams.map((bytes) => bytes[0]), [1]);
  far.send(new Uint8Array([3]));
  pair.change({ lossRate: 0, latencyMs: 500, datagramSize: 600 });
  near.send(new Uint8Array([4]));
  assertEquals(near.send(new Uint8Array(601)), false);
  network.advanceTo(599);
  assertEquals(far.datagrams.length, 1);
  network.advanceTo(601);
  assertEquals(far.datagrams.map((bytes) => bytes[0]), [1, 4]);
  assertEquals(near.datagrams.map((bytes) => bytes[0]), [3]);
});

Deno.test("`kill()` is silence: the other end finds out by its idle time-out", () => {
  for (const [dead, other] of [["connector", "acceptor"], ["acceptor", "connector"]] as const) {
    const { network, pair, near, far } = connect(17, { latencyMs: 10 });
    const [killed, left] = dead === "connector" ? [near, far] : [far, near];
    network.advanceTo(20_000);
    assertEquals(left.closed, undefined, `${other} is kept alive`);
    pair.kill(dead);
    network.advanceTo(20_000 + IDLE_TIMEOUT_MS - 1_100);
    assertEquals(left.closed, undefined);
    network.advanceTo(20_000 + IDLE_TIMEOUT_MS + 100);
    assertEquals(left.closed, { code: 0, reason: "timed out", by: "lost" });
    assertEquals(killed.closed, undefined, "the dead hear nothing");
    assertEquals(killed.send(new Uint8Array(1)), false);
    network.advanceTo(60_000);
    assertEquals(network.nextEventMs, undefined);
  }
});

Deno.test("a cut wire ends both ends, a short cut neither", () => {
  const { network, pair, near, far } = connect(18, { latencyMs: 10 });
  const here = near.open();
  pair.change({ lossRate: 1 });
  here.write(patternBytes(0, 5_000));
  network.advanceTo(3_000);
  pair.change({ lossRate: 0 });
  network.advanceTo(5_000);
  assertEquals(far.streams[0]?.received, 5_000);
  pair.change({ lossRate: 1 });
  network.advanceTo(20_000);
  assertEquals([near.closed?.by, far.closed?.by], ["lost", "lost"]);
});

Deno.test("`close()` gets through a lossy simulated link", () => {
  for (let seed = 0; seed < 20; seed++) {
    const { network, near, far } = connect(seed, { latencyMs: 10, lossRate: 0.5 });
    near.close(9, "bye");
    network.advanceTo(4_000);
    assertEquals(far.closed, { code: 9, reason: "bye", by: "remote" }, `seed ${seed}`);
  }
});

/** A busy scene over a bad link; every call that either end gets becomes part of the text. */
function traceOf(seed: number): string {
  const network = new SimulatedNetwork(seed);
  const trace: string[] = [];
  const prng = new Prng(99);
  const pair = network.connect({
    latencyMs: 30,
    jitterMs: 15,
    lossRate: 0.1,
    duplicateRate: 0.05,
    reorderRate: 0.05,
    corruptRate: 0.05,
    bandwidthBytesPerSecond: 300_000,
    queueBytes: 10_000,
  });
  const watch = (name: string, connection: Connection) => {
    const note = (what: string, bytes?: Uint8Array) =>
      trace.push(`${network.now} ${name} ${what} ${bytes?.toHex() ?? ""}`);
    connection.start({
      handleDatagram: (bytes) => note("datagram", bytes),
      handleStream: (stream) => {
        note("stream");
        stream.setHandler({
          handleData: (bytes) => note("data", bytes),
          handleEnd: () => note("end"),
          handleReset: (code) => note(`reset ${code}`),
          handleWritable: () => note("writable"),
        });
      },
      handleClosed: (info) => note(`closed ${info.code} ${info.by}`),
    });
  };
  watch("near", pair.connector);
  watch("far", pair.acceptor);
  for (let i = 0; i < 50; i++) {
    const ends = [pair.connector, pair.acceptor];
    for (const end of ends) end.sendDatagram(randomBytes(prng, prng.nextBelow(500)));
    if (i % 10 === 0) {
      const stream = ends[prng.nextBelow(2)]!.openStream();
      stream.write(randomBytes(prng, prng.nextBelow(20_000)));
      if (i % 20 === 0) stream.end();
      else stream.reset(i);
    }
    network.advanceTo(network.now + 20);
  }
  pair.connector.close(1, "");
  network.advanceTo(10_000);
  return trace.join("\n");
}

Deno.test("`SimulatedNetwork` gives the same run for the same seed, and another for another", async () => {
  const hash = async (text: string) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex();
  const first = traceOf(1);
  assertGreater(first.split("\n").length, 100);
  assertEquals(await hash(traceOf(1)), await hash(first));
  assert(await hash(traceOf(2)) !== await hash(first));
});

Deno.test("`listen()` and `dial()` connect by name after a round trip", () => {
  const network = new SimulatedNetwork(19);
  const conditions = { up: { latencyMs: 30 }, down: { latencyMs: 20 } };
  let accepted: ConnectionRecorder | undefined;
  let acceptedMs = 0;
  const listener = network.listen("world", (connection) => {
    acceptedMs = network.now;
    accepted = new ConnectionRecorder(connection).start();
  });
  let near: ConnectionRecorder | undefined;
  network.dial("world", conditions, (result) => {
    assert(!(result instanceof TransportError));
    near = new ConnectionRecorder(result).start();
  });
  network.advanceTo(49);
  assertEquals([acceptedMs, near], [30, undefined]);
  network.advanceTo(50);
  near!.send(new Uint8Array([1]));
  network.advanceTo(100);
  assertEquals(accepted!.datagrams.length, 1);
  listener.close();
  let failure: unknown;
  network.dial("world", conditions, (result) => failure = result);
  network.advanceTo(200);
  assert(failure instanceof TransportError);
  assertEquals(failure.code, TransportErrorCode.Refused);
  near!.close();
});
