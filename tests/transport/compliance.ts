// What every transport must do, as one suite. A backend gives two connected ends and a way to let time pass.

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { Fault } from "../../protocol/faults.ts";
import { MAX_STREAMS_PER_PEER, STREAM_HIGH_WATER_BYTES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import type { Connection } from "../../transport/connection.ts";
import { ConnectionRecorder, patternBytes, randomBytes, StreamRecorder } from "./recorder.ts";

/** Two connected ends, not started, and their time. */
export interface TestLink {
  readonly connector: Connection;
  readonly acceptor: Connection;
  /** Lets time pass until `condition` holds; throws after a bounded while. */
  until(condition: () => boolean, what: string): Promise<void>;
  /** Lets everything that is under way arrive. */
  rest(): Promise<void>;
  /** Ends what is still open, both connections included. */
  dispose(): Promise<void>;
}

/** Both ends with recorders, started. */
interface Ends {
  readonly link: TestLink;
  readonly near: ConnectionRecorder;
  readonly far: ConnectionRecorder;
}

const LARGE_BYTES = 16 * 1024 * 1024;
const CHUNK_BYTES = 65_536;

/** Registers the suite for one backend. */
export function testCompliance(backend: string, open: () => Promise<TestLink>): void {
  const scenario = (name: string, run: (ends: Ends) => Promise<void>) =>
    Deno.test(`${backend} ${name}`, async () => {
      const link = await open();
      try {
        const near = new ConnectionRecorder(link.connector).start();
        const far = new ConnectionRecorder(link.acceptor).start();
        await run({ link, near, far });
      } finally {
        await link.dispose();
      }
    });

  /** Opens a stream at `from` and waits until `to` has it. */
  async function openPair(
    ends: Ends,
    from: ConnectionRecorder,
    to: ConnectionRecorder,
  ): Promise<[StreamRecorder, StreamRecorder]> {
    const before = to.streams.length;
    const here = from.open();
    here.write(new Uint8Array([9]));
    await ends.link.until(() => (to.streams[before]?.received ?? 0) === 1, "the peer has a stream");
    const there = to.streams[before]!;
    there.chunks.length = 0;
    there.received = 0;
    return [here, there];
  }

  scenario(
    "`sendDatagram()` carries datagrams both ways unchanged",
    async ({ link, near, far }) => {
      const prng = new Prng(1);
      const up = Array.from({ length: 20 }, () => randomBytes(prng, 1 + prng.nextBelow(1_100)));
      const down = Array.from({ length: 20 }, () => randomBytes(prng, 1 + prng.nextBelow(1_100)));
      for (let i = 0; i < 20; i++) {
        assert(near.send(up[i]!));
        assert(far.send(down[i]!));
      }
      await link.until(
        () => near.datagrams.length === 20 && far.datagrams.length === 20,
        "all datagrams have arrived",
      );
      const sorted = (all: Uint8Array[]) => all.map((bytes) => bytes.toHex()).sort();
      assertEquals(sorted(far.datagrams), sorted(up));
      assertEquals(sorted(near.datagrams), sorted(down));
    },
  );

  scenario(
    "`sendDatagram()` takes up to `maxDatagramSize` and refuses more",
    async ({ link, near, far }) => {
      const size = near.connection.maxDatagramSize;
      assertGreater(size, 1_000);
      assert(near.send(patternBytes(0, size)));
      assert(near.send(new Uint8Array(0)));
      await link.until(() => far.datagrams.length === 2, "both have arrived");
      const sizes = far.datagrams.map((bytes) => bytes.length).sort((a, b) => a - b);
      assertEquals(sizes, [0, size]);
      // Path discovery may raise the size at any time: ask again for each try.
      assert(!near.send(new Uint8Array(near.connection.maxDatagramSize + 1_000)));
      await link.rest();
      assertEquals(far.datagrams.length, 2);
    },
  );

  scenario("`sendDatagram()` leaves the sender's bytes alone", async ({ link, near, far }) => {
    far.onDatagram = (bytes) => bytes.fill(0);
    const bytes = patternBytes(0, 100);
    near.send(bytes);
    await link.until(() => far.datagrams.length === 1, "it has arrived");
    assertEquals(bytes, patternBytes(0, 100));
  });

  for (
    const [name, sizes] of [
      ["one byte at a time", (_: Prng) => 1],
      ["around the largest frame", (prng: Prng) => 65_534 + prng.nextBelow(5)],
      ["of random sizes", (prng: Prng) => prng.nextBelow(5_000)],
    ] as const
  ) {
    scenario(`\`write()\` keeps the order of chunks ${name}`, async (ends) => {
      const { link, near, far } = ends;
      const prng = new Prng(2);
      for (const [from, to] of [[near, far], [far, near]] as const) {
        const [here, there] = await openPair(ends, from, to);
        let at = 0;
        for (let i = 0; i < 200 && at < 700_000; i++) {
          const size = sizes(prng);
          here.write(patternBytes(at, size));
          at += size;
        }
        here.end();
        await link.until(() => there.ended, "the end has arrived");
        assertEquals(there.received, at);
        assertEquals(there.bytes, patternBytes(0, at));
      }
    });
  }

  scenario("`write()` leaves the sender's bytes alone", async (ends) => {
    const [here, there] = await openPair(ends, ends.near, ends.far);
    there.onData = (bytes) => bytes.fill(0);
    const bytes = patternBytes(0, 100);
    here.write(bytes);
    await ends.link.until(() => there.received === 100, "it has arrived");
    assertEquals(bytes, patternBytes(0, 100));
  });

  scenario("`openStream()` at both ends gives streams in the order of opening", async ({
    link,
    near,
    far,
  }) => {
    for (const [from, to] of [[near, far], [far, near]] as const) {
      const opened = Array.from({ length: 10 }, () => from.open());
      // The last to be opened speaks first; the others are heard in their order all the same.
      for (let i = 9; i >= 0; i--) opened[i]!.write(new Uint8Array([i]));
      await link.until(
        () => to.streams.length === 10 && to.streams.every((stream) => stream.received === 1),
        "all streams are heard",
      );
      assertEquals(to.streams.map((stream) => stream.bytes[0]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      // Each is a way back, too.
      to.streams.forEach((stream, i) => stream.write(new Uint8Array([100 + i])));
      await link.until(() => opened.every((stream) => stream.received === 1), "all are answered");
      assertEquals(opened.map((stream) => stream.bytes[0]), opened.map((_, i) => 100 + i));
    }
  });

  scenario("a large transfer hinders neither datagrams nor other streams", async (ends) => {
    const { link, near, far } = ends;
    const [large, largeThere] = await openPair(ends, near, far);
    const [small, smallThere] = await openPair(ends, near, far);
    largeThere.checkPattern = true;
    smallThere.onData = (bytes) => smallThere.write(bytes);
    let sent = 0;
    const fill = () => {
      while (sent < LARGE_BYTES) {
        const more = large.write(patternBytes(sent, CHUNK_BYTES));
        sent += CHUNK_BYTES;
        assertLess(large.stream.bufferedBytes, STREAM_HIGH_WATER_BYTES + CHUNK_BYTES + 1);
        if (!more) return;
      }
      large.end();
    };
    large.onWritable = fill;
    fill();
    // Ping-pong beside the transfer: each answer starts the next round.
    let rounds = 0;
    let roundsBeforeEnd = 0;
    small.onData = () => {
      rounds += 1;
      if (!largeThere.ended) {
        roundsBeforeEnd = rounds;
        near.send(new Uint8Array([rounds & 0xff]));
        small.write(new Uint8Array([1]));
      }
    };
    small.write(new Uint8Array([1]));
    await link.until(() => largeThere.ended, "the transfer has ended");
    assertEquals(largeThere.received, LARGE_BYTES);
    assertGreater(large.writableCount, 10);
    assertGreater(roundsBeforeEnd, 10);
    await link.until(() => far.datagrams.length > roundsBeforeEnd / 2, "datagrams went through");
  });

  scenario(
    "`pause()` stops the writer with bounded memory, and resuming loses nothing",
    async (ends) => {
      const { link, near, far } = ends;
      const [here, there] = await openPair(ends, near, far);
      there.checkPattern = true;
      there.pause(true);
      let sent = 0;
      let full = false;
      const fill = () => {
        full = false;
        while (!full && sent < LARGE_BYTES / 2) {
          full = !here.write(patternBytes(sent, CHUNK_BYTES));
          sent += CHUNK_BYTES;
        }
      };
      here.onWritable = fill;
      fill();
      await link.rest();
      assert(full, "the writer is told to wait");
      const stalledAt = sent;
      assertLess(stalledAt, LARGE_BYTES / 4);
      assertLess(here.stream.bufferedBytes, STREAM_HIGH_WATER_BYTES + CHUNK_BYTES + 1);
      assertEquals(there.received, 0);
      // The stalled stream holds up nothing else.
      const [beside, besideThere] = await openPair(ends, near, far);
      beside.write(patternBytes(0, 1_000));
      await link.until(() => besideThere.received === 1_000, "another stream goes on");
      assertEquals(sent, stalledAt);
      there.pause(false);
      await link.until(() => there.received === LARGE_BYTES / 2, "everything has arrived");
      assertGreater(here.writableCount, 0);
    },
  );

  scenario("`pause()` inside `handleData` holds the rest back", async (ends) => {
    const { link, near, far } = ends;
    const [here, there] = await openPair(ends, near, far);
    there.onData = () => there.pause(true);
    for (let i = 0; i < 5; i++) {
      here.write(patternBytes(i * 100_000, 100_000));
      await link.rest();
    }
    here.end();
    await link.rest();
    assertEquals(there.chunks.length, 1);
    assert(!there.ended);
    there.onData = undefined;
    there.pause(false);
    await link.until(() => there.ended, "the end has arrived");
    assertEquals(there.bytes, patternBytes(0, 500_000));
  });

  scenario("`end()` closes one direction and leaves the other open", async (ends) => {
    const { link, near, far } = ends;
    const [here, there] = await openPair(ends, near, far);
    here.write(patternBytes(0, 10));
    here.end();
    here.end();
    assertEquals(here.write(new Uint8Array(10)), false);
    await link.until(() => there.ended, "the end has arrived");
    assertEquals(there.received, 10);
    there.write(patternBytes(0, 200_000));
    await link.until(() => here.received === 200_000, "the other direction goes on");
    assert(!here.ended);
    there.end();
    await link.until(() => here.ended, "the other direction has ended");
    await link.rest();
    assertEquals([here.resetCode, there.resetCode], [undefined, undefined]);
    // A word after the end of both is nobody's business.
    here.reset(3);
    there.write(new Uint8Array(1));
    await link.rest();
    assertEquals([here.resetCode, there.resetCode], [undefined, undefined]);
  });

  scenario("`end()` without a byte is heard", async ({ link, near, far }) => {
    near.open().end();
    await link.until(() => far.streams[0]?.ended === true, "the end has arrived");
    assertEquals(far.streams[0]!.received, 0);
  });

  scenario("`reset()` by the opener reaches the peer with its code", async (ends) => {
    const { link, near, far } = ends;
    const [here, there] = await openPair(ends, near, far);
    here.reset(2 ** 30 - 1);
    here.reset(5);
    here.end();
    assertEquals(here.write(new Uint8Array(10)), false);
    await link.until(() => there.resetCode !== undefined, "the reset has arrived");
    assertEquals(there.resetCode, 2 ** 30 - 1);
    assertEquals(there.write(new Uint8Array(10)), false);
    await link.rest();
    assertEquals(here.resetCode, undefined);
    assert(!there.ended);
    assertEquals(there.stream.bufferedBytes, 0);
  });

  scenario("`reset()` by the other end refuses what is still being sent", async (ends) => {
    const { link, near, far } = ends;
    const [here, there] = await openPair(ends, near, far);
    there.pause(true);
    while (here.write(patternBytes(0, CHUNK_BYTES)));
    await link.rest();
    while (here.write(patternBytes(0, CHUNK_BYTES)));
    assertGreater(here.stream.bufferedBytes, 0);
    there.reset(77);
    await link.until(() => here.resetCode !== undefined, "the reset has arrived");
    assertEquals(here.resetCode, 77);
    assertEquals(here.stream.bufferedBytes, 0);
    await link.rest();
    assertEquals(there.received, 0);
    // The connection is none the worse.
    const [again] = await openPair(ends, near, far);
    again.end();
  });

  scenario("`reset()` after `end()` still carries its code", async (ends) => {
    const { link, near, far } = ends;
    const [here, there] = await openPair(ends, near, far);
    there.end();
    await link.until(() => here.ended, "the end has arrived");
    there.reset(78);
    await link.until(() => here.resetCode !== undefined, "the reset has arrived");
    assertEquals(here.resetCode, 78);
  });

  for (const side of ["connector", "acceptor"] as const) {
    scenario(`\`close()\` by the ${side} tells the other end its code and reason`, async (ends) => {
      const { link } = ends;
      const [closer, other] = side === "connector" ? [ends.near, ends.far] : [ends.far, ends.near];
      const [here, there] = await openPair(ends, closer, other);
      while (here.write(patternBytes(0, CHUNK_BYTES)));
      closer.close(1_234, "gone to tea ☕");
      assertEquals(closer.closed, undefined, "handleClosed never comes inside close()");
      await link.until(
        () => closer.closed !== undefined && other.closed !== undefined,
        "both know",
      );
      assertEquals(closer.closed, { code: 1_234, reason: "gone to tea ☕", by: "local" });
      assertEquals(other.closed, { code: 1_234, reason: "gone to tea ☕", by: "remote" });
      // Everything after it is harmless, at both ends.
      for (const [end, stream] of [[closer, here], [other, there]] as const) {
        assertEquals(end.send(new Uint8Array(10)), false);
        assertEquals(stream.write(new Uint8Array(10)), false);
        stream.end();
        stream.pause(true);
        stream.pause(false);
        stream.reset(1);
        const late = end.open();
        assertEquals(late.write(new Uint8Array(10)), false);
        late.end();
        late.reset(1);
        end.close(5, "again");
      }
      await link.rest();
      assertEquals(closer.closed?.code, 1_234);
    });
  }

  scenario("`close()` cuts a long reason at a whole character", async ({ link, near, far }) => {
    near.close(0, "☕".repeat(200));
    await link.until(() => far.closed !== undefined, "the end has arrived");
    assertEquals(far.closed, { code: 0, reason: "☕".repeat(85), by: "remote" });
  });

  scenario(
    "`close()` inside a handler is the last that the handler hears but `handleClosed`",
    async ({
      link,
      near,
      far,
    }) => {
      far.onDatagram = () => far.close(7, "enough");
      for (let i = 0; i < 5; i++) near.send(new Uint8Array([i]));
      const stream = near.open();
      stream.write(patternBytes(0, 1_000));
      await link.until(() => near.closed !== undefined && far.closed !== undefined, "both know");
      assertEquals(far.datagrams.length, 1);
      assertEquals(near.closed?.code, 7);
    },
  );

  scenario("`channelBinding` is the same at both ends", ({ near, far }) => {
    assertEquals(near.connection.channelBinding, far.connection.channelBinding);
    assert([0, 32].includes(near.connection.channelBinding.length));
    return Promise.resolve();
  });

  scenario("`openStream()` works a thousand times over one connection", async (ends) => {
    const { link, near, far } = ends;
    far.onStream = (stream) => {
      stream.onData = (bytes) => {
        stream.write(bytes);
        stream.end();
      };
    };
    for (let round = 0; round < 10; round++) {
      const streams = Array.from({ length: 100 }, (_, i) => {
        const stream = near.open();
        stream.write(new Uint8Array([i]));
        if (i % 10 === 0) stream.reset(1);
        else stream.end();
        return stream;
      });
      const whole = streams.filter((_, i) => i % 10 !== 0);
      await link.until(() => whole.every((stream) => stream.ended), `round ${round} has ended`);
      for (const stream of whole) assertEquals(stream.received, 1);
      await link.rest();
    }
  });

  scenario(
    "`openStream()` beyond the bound gives a stream that is reset",
    async ({ link, near }) => {
      const streams = Array.from({ length: MAX_STREAMS_PER_PEER + 1 }, () => near.open());
      const last = streams.at(-1)!;
      assertEquals(last.write(new Uint8Array(1)), false);
      await link.until(() => last.resetCode !== undefined, "it is reset");
      assertEquals(last.resetCode, Fault.OutOfRange);
      assert(streams.slice(0, -1).every((stream) => stream.resetCode === undefined));
    },
  );

  scenario("a stream without a handler is not read, and gets everything once it has one", async ({
    link,
    near,
    far,
  }) => {
    far.attachStreams = false;
    const here = near.open();
    here.write(patternBytes(0, 1_000));
    here.end();
    await link.until(() => far.streams.length === 1, "the stream is heard");
    await link.rest();
    const there = far.streams[0]!;
    assertEquals(there.received, 0);
    there.attach();
    await link.until(() => there.ended, "everything has arrived");
    assertEquals(there.bytes, patternBytes(0, 1_000));
  });

  Deno.test(`${backend} \`start()\` comes before every call`, async () => {
    const link = await open();
    try {
      const near = new ConnectionRecorder(link.connector).start();
      const far = new ConnectionRecorder(link.acceptor);
      const here = near.open();
      here.write(patternBytes(0, 1_000));
      near.send(new Uint8Array([1]));
      await link.rest();
      far.start();
      await link.until(
        () => far.streams[0]?.received === 1_000 && far.datagrams.length === 1,
        "what came early is delivered",
      );
    } finally {
      await link.dispose();
    }
  });

  Deno.test(`${backend} \`start()\` after the end tells of the end`, async () => {
    const link = await open();
    try {
      const near = new ConnectionRecorder(link.connector).start();
      const far = new ConnectionRecorder(link.acceptor);
      near.close(3, "early");
      await link.rest();
      far.start();
      await link.until(() => far.closed !== undefined, "the end is told");
      assertEquals(far.closed, { code: 3, reason: "early", by: "remote" });
    } finally {
      await link.dispose();
    }
  });
}
