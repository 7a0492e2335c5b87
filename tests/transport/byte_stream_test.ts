import { assertEquals } from "@std/assert";
import { Fault } from "../../protocol/faults.ts";
import { MAX_STREAMS_PER_PEER, STREAM_WINDOW_BYTES } from "../../protocol/limits.ts";
import { Prng } from "../../protocol/prng.ts";
import { LoopbackNetwork } from "../../transport/loopback.ts";
import { FrameKind } from "../../transport/mux_frame.ts";
import { createByteStreamPair, encodeFrame } from "../support/byte_stream_transport.ts";
import { testCompliance, type TestLink } from "./compliance.ts";
import { ConnectionRecorder } from "./recorder.ts";

function openByteStream(): Promise<TestLink> {
  const network = new LoopbackNetwork();
  const { connector, acceptor } = createByteStreamPair(network.schedule, new Prng(3));
  return Promise.resolve({
    connector,
    acceptor,
    until: (condition, what) => {
      network.flush();
      if (!condition()) throw new Error(`never came: ${what}`);
      return Promise.resolve();
    },
    rest: () => {
      network.flush();
      return Promise.resolve();
    },
    dispose: () => {
      connector.close(0, "");
      acceptor.close(0, "");
      network.flush();
      return Promise.resolve();
    },
  });
}

testCompliance("byte stream", openByteStream);

/** What the acceptor does with frames no honest connector sends: the code it closes with. */
function closeCodeAfter(...frames: Uint8Array[]): number | undefined {
  const network = new LoopbackNetwork();
  const { connector, acceptor, inject } = createByteStreamPair(network.schedule, new Prng(3));
  const near = new ConnectionRecorder(connector).start();
  const far = new ConnectionRecorder(acceptor).start();
  far.onStream = (stream) => stream.pause(true);
  network.flush();
  for (const frame of frames) inject(frame);
  network.flush();
  assertEquals(near.closed?.code, far.closed?.code);
  return far.closed?.code;
}

Deno.test("`MuxConnection.handleFrame()` ends the connection over frames that break the rules", () => {
  const data = (stream: number, size: number) =>
    encodeFrame({ kind: FrameKind.Data, stream, bytes: new Uint8Array(size) });
  const end = encodeFrame({ kind: FrameKind.End, stream: 0 });
  assertEquals(closeCodeAfter(data(0, 10), end), undefined);
  // After its end; twice ended; a stream the acceptor never opened; credit for one nobody opened.
  assertEquals(closeCodeAfter(end, data(0, 10)), Fault.Unexpected);
  assertEquals(closeCodeAfter(end, end), Fault.Unexpected);
  assertEquals(closeCodeAfter(data(1, 10)), Fault.UnknownId);
  assertEquals(
    closeCodeAfter(encodeFrame({ kind: FrameKind.Credit, stream: 4, total: 9 })),
    Fault.UnknownId,
  );
  // More than the window, more streams than the bound.
  const filling = Array.from({ length: 16 }, () => data(0, STREAM_WINDOW_BYTES / 16));
  assertEquals(closeCodeAfter(...filling), undefined);
  assertEquals(closeCodeAfter(...filling, data(0, 1)), Fault.Flood);
  assertEquals(closeCodeAfter(data(2 * MAX_STREAMS_PER_PEER - 2, 1)), undefined);
  assertEquals(closeCodeAfter(data(2 * MAX_STREAMS_PER_PEER, 1)), Fault.Flood);
  // Not frames at all.
  assertEquals(closeCodeAfter(new Uint8Array([255, 255, 255, 255])), Fault.OutOfRange);
  assertEquals(closeCodeAfter(new Uint8Array([0, 0, 0, 0])), Fault.Truncated);
  assertEquals(closeCodeAfter(new Uint8Array([1, 0, 0, 0, 99])), Fault.UnknownKind);
});
