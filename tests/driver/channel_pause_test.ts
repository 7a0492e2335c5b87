import { assertEquals } from "@std/assert";
import { ChannelRouter } from "../../driver/channel_router.ts";
import { Counters } from "../../driver/counters.ts";
import { Gate } from "../../permissions/gate.ts";
import { encodePieceHeader, encodePreamble } from "../../protocol/channel_frames.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import type { Stream, StreamHandler } from "../../transport/connection.ts";
import { driverGrants } from "../support/driver_world.ts";

const GRANTS = driverGrants();

/** A peer's stream whose bytes a test brings, and that notes whether it is paused. */
class TestStream implements Stream {
  handler!: StreamHandler;
  readonly bufferedBytes = 0;
  /** Every change. */
  readonly pauses: boolean[] = [];

  setHandler(handler: StreamHandler): void {
    this.handler = handler;
  }

  write(): boolean {
    return true;
  }

  end(): void {}

  reset(code: number): void {
    throw new Error(`reset with ${code}`);
  }

  pause(paused: boolean): void {
    this.pauses.push(paused);
  }
}

Deno.test("ChannelRouter pauses a stream whose peer has used up its share, until it is readable again", () => {
  const chat = GRANTS.channels.find(({ mode, namespace }) => mode === "reliable" && !namespace)!;
  const role = GRANTS.defaultRole;
  let left = 100;
  const said: ToEngine[] = [];
  const router = new ChannelRouter(GRANTS, new Gate(GRANTS), {
    now: () => 0,
    push: (message) => said.push(message),
    denied: (_peer, rule) => {
      throw new Error(`denied: ${rule}`);
    },
    violation: (_peer, fault) => {
      throw new Error(`a fault: ${fault}`);
    },
    mayGoOn: (_peer, bytes) => {
      left -= bytes;
      return left > 0;
    },
  }, new Counters());
  const stream = new TestStream();
  const peer = {
    peer: 7,
    remoteRole: role,
    localRole: 0,
    openStream: () => stream,
    queueMessage: () => true,
  };
  router.handlePeerStream(peer, stream);
  stream.handler.handleData(encodePreamble(chat.id, ""));
  stream.handler.handleData(encodePieceHeader(50, false));
  stream.handler.handleData(new Uint8Array(50));
  assertEquals(stream.pauses, []);
  stream.handler.handleData(encodePieceHeader(60, true));
  stream.handler.handleData(new Uint8Array(60));
  assertEquals(stream.pauses, [true]);
  const bytes = said.reduce(
    (sum, one) => sum + (one.kind === "channelData" ? one.piece.length : 0),
    0,
  );
  assertEquals(bytes, 110, "what has come is taken all the same");
  // Another peer's turn is nothing to this one.
  router.handlePeerReadable(8);
  assertEquals(stream.pauses, [true]);
  left = 100;
  router.handlePeerReadable(7);
  assertEquals(stream.pauses, [true, false]);
  router.handlePeerReadable(7);
  assertEquals(stream.pauses, [true, false]);
});
