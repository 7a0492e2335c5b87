import { assertEquals, assertThrows } from "@std/assert";
import { createLoopbackPair, LoopbackNetwork } from "../../transport/loopback.ts";
import { TransportError } from "../../transport/transport_error.ts";
import { testCompliance, type TestLink } from "./compliance.ts";
import { ConnectionRecorder } from "./recorder.ts";

function openLoopback(): Promise<TestLink> {
  const network = new LoopbackNetwork();
  const { connector, acceptor } = createLoopbackPair(network.schedule);
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

testCompliance("loopback", openLoopback);

Deno.test("`LoopbackNetwork` connects by name, and names what is wrong", () => {
  const network = new LoopbackNetwork();
  assertThrows(() => network.connect("a"), TransportError, 'nothing listens on "a"');
  const accepted: ConnectionRecorder[] = [];
  const listener = network.listen("a", (connection) => {
    accepted.push(new ConnectionRecorder(connection).start());
  });
  assertThrows(() => network.listen("a", () => {}), TransportError, "choose another name");
  const near = new ConnectionRecorder(network.connect("a")).start();
  near.send(new Uint8Array([5]));
  assertEquals(accepted.length, 0);
  network.flush();
  assertEquals(accepted[0]!.datagrams, [new Uint8Array([5])]);
  listener.close();
  assertThrows(() => network.connect("a"), TransportError, "start the listener first");
  near.close(1, "");
  network.flush();
  assertEquals(accepted[0]!.closed?.by, "remote");
});

Deno.test("`createLoopbackPair()` works with microtasks and needs no owner", async () => {
  const { connector, acceptor } = createLoopbackPair(queueMicrotask);
  const near = new ConnectionRecorder(connector).start();
  const far = new ConnectionRecorder(acceptor).start();
  near.send(new Uint8Array([1, 2]));
  await Promise.resolve();
  await Promise.resolve();
  assertEquals(far.datagrams, [new Uint8Array([1, 2])]);
});
