import { assert, assertEquals } from "@std/assert";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { ALL_PEERS } from "../../protocol/engine_messages.ts";
import { MAX_ENGINE_MESSAGES, MAX_ENGINE_VOICE_FRAMES } from "../../protocol/limits.ts";
import { RowWriter } from "../../replication/row_codec.ts";
import { createValue } from "../../replication/value.ts";
import { quantiseValues } from "../../engine/values.ts";
import { LINK_GRANTS, LinkBed, spawnBatch } from "../support/fake_driver.ts";
import { sampleGrants } from "../support/sample_grants.ts";

const REMOTE = 0x8000_0001;

function clientBed(): LinkBed {
  const bed = new LinkBed("client");
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }));
  bed.takeLog();
  bed.link.onEvent = (name, values, info) =>
    bed.log.push(`event ${name} ${JSON.stringify(values)} from ${info.from} at ${info.time}`);
  bed.link.onVoice = (handle, frame, info) =>
    bed.log.push(`voice ${handle} ${frame.length} B #${info.sequence} at ${info.position}`);
  return bed;
}

/** An event as the driver sends it. */
function eventOf(
  name: string,
  values: Record<string, number | string | number[]>,
  fields: Partial<Extract<ToEngine, { kind: "event" }>> = {},
): ToEngine {
  const event = LINK_GRANTS.events.find((one) => one.name === name)!;
  const value = createValue(event);
  quantiseValues(event, values, 0b11, value, () => true);
  const writer = new RowWriter(event);
  writer.push(2 ** event.fields.length - 1, value, (handle) => handle);
  return {
    kind: "event",
    eventId: event.id,
    from: 6,
    time: 640,
    late: false,
    row: writer.finish(),
    ...fields,
  };
}

function voiceOf(fields: Partial<Extract<ToEngine, { kind: "voice" }>>): ToEngine {
  return {
    kind: "voice",
    handle: REMOTE,
    sequence: 9,
    time: 640,
    position: Float64Array.of(1, 2, 3),
    frame: new Uint8Array(80),
    ...fields,
  };
}

Deno.test("sendEvent() goes out behind the state of its moment", () => {
  const bed = clientBed();
  const handle = bed.link.spawn({ Name: { text: "Ann" } });
  assert(bed.link.sendEvent("Wave", { at: handle, word: "hi" }));
  bed.listen();
  assertEquals(bed.heardOf("event"), []);
  bed.flush();
  assertEquals(bed.heard.slice(-2).map(({ kind }) => kind), ["batch", "event"]);
  const [event] = bed.heardOf("event");
  assertEquals(event, {
    kind: "event",
    eventId: 1,
    to: ALL_PEERS,
    row: Uint8Array.of(handle, 0, 0, 0, 2, 0, 0, 0, 104, 105),
  });
});

Deno.test("sendEvent() refuses what the manifest, the role, the recipient or a range refuses", () => {
  const bed = clientBed();
  assert(!bed.link.sendEvent("Nothing", {}));
  assert(!bed.link.sendEvent("Explosion", { where: [0, 0, 0] }));
  assert(!bed.link.sendEvent("Wave", { word: "x".repeat(33) }));
  assert(!bed.link.sendEvent("Wave", { who: 1 }));
  assert(!bed.link.sendEvent("Wave", {}, { to: 6 }));
  bed.flush();
  assertEquals(bed.heardOf("event"), []);
  assertEquals(bed.takeLog(), [
    "denied engine undeclared event 0 f0 h0 p5 x1",
    "denied engine role event 2 f0 h0 p5 x1",
    "denied engine size event 1 f2 h0 p5 x1",
    "denied engine field event 1 f0 h0 p5 x1",
    "denied engine peer event 1 f0 h0 p5 x1",
  ]);
});

Deno.test("sendEvent() addresses one peer from the server, if it is there", () => {
  const bed = new LinkBed("server");
  bed.join(0);
  bed.say({ kind: "peerJoin", peer: 6, roleId: 1, resumed: false });
  assert(bed.link.sendEvent("Explosion", { where: [1, 2, 3] }, { to: 6 }));
  assert(!bed.link.sendEvent("Explosion", { where: [1, 2, 3] }, { to: 7 }));
  assert(!bed.link.sendEvent("Explosion", { where: [1, 2, NaN] }));
  bed.flush();
  assertEquals(bed.heardOf("event").map(({ to }) => to), [6]);
});

Deno.test("sendEvent() refuses more than may wait for a driver that does not read", () => {
  const bed = clientBed();
  let taken = 0;
  while (taken < MAX_ENGINE_MESSAGES + 10 && bed.link.sendEvent("Wave", { word: "x" })) taken += 1;
  assertEquals(taken, MAX_ENGINE_MESSAGES);
  assertEquals(bed.link.stats.commandsDropped, 1);
});

Deno.test("events that arrive are judged by this engine's own tables", () => {
  const bed = clientBed();
  bed.say(eventOf("Wave", { at: REMOTE, word: "hi" }));
  bed.say(eventOf("Explosion", { where: [1, 2, 3] }, { from: 0 }));
  bed.say(eventOf("Wave", { at: 0x8000_0999, word: "" }));
  assertEquals(bed.takeLog(), [
    `event Wave {"at":${REMOTE},"word":"hi"} from 6 at 640`,
    'event Explosion {"where":[1,2,3]} from 0 at 640',
    'event Wave {"at":0,"word":""} from 6 at 640',
  ]);
  const wave = eventOf("Wave", { word: "hi" }) as Extract<ToEngine, { kind: "event" }>;
  bed.say({ ...wave, eventId: 77 });
  // Only the server's engine may send it, whatever the driver says.
  bed.say(eventOf("Explosion", { where: [1, 2, 3] }, { from: 6 }));
  bed.say({ ...wave, row: wave.row.subarray(0, 9) });
  bed.say({ ...wave, row: Uint8Array.of(...wave.row, 0) });
  bed.say({ ...wave, row: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0xff) });
  assertEquals(bed.takeLog(), [
    "denied engine undeclared event 77 f0 h0 p6 x1",
    "denied engine role event 2 f0 h0 p6 x1",
    "denied engine format event 1 f0 h0 p6 x1",
    "denied engine format event 1 f0 h0 p6 x1",
    "denied engine range event 1 f2 h0 p6 x1",
  ]);
});

Deno.test("sendVoice() sends frames of own entities that the driver knows, within the declared size", () => {
  const bed = clientBed();
  const own = bed.link.spawn({ Name: {} });
  const frame = Uint8Array.of(1, 2, 3);
  assert(!bed.link.sendVoice(own, frame));
  bed.flush();
  assert(bed.link.sendVoice(own, frame));
  frame.fill(0);
  bed.listen();
  assertEquals(bed.heardOf("voice"), [{
    kind: "voice",
    handle: own,
    frame: Uint8Array.of(1, 2, 3),
  }]);
  assert(!bed.link.sendVoice(own, new Uint8Array(401)));
  assert(!bed.link.sendVoice(own, new Uint8Array(0)));
  assert(!bed.link.sendVoice(REMOTE, frame));
  assert(!bed.link.sendVoice(999, frame));
  bed.flush();
  assertEquals(bed.takeLog(), [
    `denied engine size voice 0 f0 h${own} p5 x2`,
    `denied engine notOwner voice 0 f0 h${REMOTE} p5 x1`,
    "denied engine entityUnknown voice 0 f0 h999 p5 x1",
  ]);
});

Deno.test("sendVoice() drops the oldest frames, and counts them, while the driver does not read", () => {
  const bed = clientBed();
  const own = bed.link.spawn({ Name: {} });
  bed.flush();
  bed.isReading = false;
  bed.link.sendEvent("Wave", {});
  bed.link.flush();
  bed.link.pollBytes();
  const count = MAX_ENGINE_VOICE_FRAMES + 72;
  for (let i = 0; i < count; i++) bed.link.sendVoice(own, Uint8Array.of(i));
  assertEquals(bed.link.stats.voiceDropped, 72);
  bed.link.handleWritten();
  bed.isReading = true;
  bed.listen();
  assertEquals(
    bed.heardOf("voice").map(({ frame }) => frame[0]),
    Array.from({ length: MAX_ENGINE_VOICE_FRAMES }, (_, i) => (i + 72) & 0xff),
  );
});

Deno.test("voice that arrives is judged by this engine's own tables", () => {
  const bed = clientBed();
  bed.say(voiceOf({}));
  bed.say(voiceOf({ position: new Float64Array(0), sequence: 10 }));
  assertEquals(bed.takeLog(), [
    `voice ${REMOTE} 80 B #9 at 1,2,3`,
    `voice ${REMOTE} 80 B #10 at undefined`,
  ]);
  bed.say(voiceOf({ frame: new Uint8Array(401) }));
  bed.say(voiceOf({ handle: REMOTE + 5 }));
  bed.say({ kind: "peerJoin", peer: 6, roleId: 2, resumed: false });
  bed.say(voiceOf({}));
  assertEquals(bed.takeLog(), [
    `denied engine size voice 0 f0 h${REMOTE} p6 x1`,
    `denied engine entityUnknown voice 0 f0 h${REMOTE + 5} p0 x1`,
    "player 6 spectator",
    `denied engine role voice 0 f0 h${REMOTE} p6 x1`,
  ]);
});

Deno.test("voice and events stop at the host's own narrowing", () => {
  const base = sampleGrants();
  const grants = sampleGrants({
    voice: { ...base.voice, hostSend: false, hostReceive: false },
    events: base.events.map((event) => ({ ...event, hostSend: false, hostReceive: false })),
  });
  const bed = new LinkBed("client", { grants });
  const own = bed.link.spawn({ Name: {} });
  bed.join(5);
  bed.say(spawnBatch(bed.grants, REMOTE, 70, 6, { Name: {} }));
  bed.takeLog();
  assert(!bed.link.sendVoice(own, new Uint8Array(9)));
  assert(!bed.link.sendEvent("Wave", {}));
  bed.say(voiceOf({}), eventOf("Wave", {}));
  assertEquals(bed.takeLog().map((line) => line.split(" ").slice(2, 4).join(" ")), [
    "host voice",
    "host event",
    "host voice",
    "host event",
  ]);
});
