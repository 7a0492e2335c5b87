// A room of real processes: a server and two clients, each an engine of this process with a driver of its own under exactly the rights of
// its manifest, over real QUIC.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { readVoicePackets } from "../../examples/recorded.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { delay, ProcessStage, type StageEngine } from "../support/process_stage.ts";

/** Message of a given length whose bytes follow from it. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + length) & 0xff);
}

/** The room with places that are not kept for long. */
function brief(value: Loose): void {
  value.world.resumeMs = 1_000;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

Deno.test("`launchDriver()` gives a server and two clients a room, from joining to leaving", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server(brief);
    const [ann, bob] = [
      await stage.client("ann", server.pin, brief),
      await stage.client("bob", server.pin, brief),
    ];
    await stage.until("all know each other", () =>
      server.link.peers.length === 2 &&
      ann.link.peers.includes(bob.link.peer!) && bob.link.peers.includes(ann.link.peer!));
    assertEquals(ann.joins[0]!.role, "player");

    const avatar = ann.link.spawn({ Avatar: { body: [1, 0, 0] }, Name: { text: "Ann" } });
    const other = bob.link.spawn({ Avatar: { body: [4, 0, 0] } });
    const prop = server.link.spawn({ Prop: { position: [0, 2, 0] } });
    await stage.untilSame([server, ann, bob], 3);
    assertEquals(bob.seen(ann, avatar, "Name"), { text: "Ann" });
    assertEquals(bob.link.ownerOf(bob.handleFrom(ann, avatar)), ann.link.peer);

    ann.link.set(avatar, "Avatar", { body: [2.5, 0.25, -1] });
    server.link.set(prop, "Prop", { position: [0, 3, 0] });
    await stage.until("the updates arrive", () =>
      body(bob, ann, avatar)[1] === 0.25 &&
      (ann.seen(server, prop, "Prop")?.position as number[])[1] === 3);
    assertAlmostEquals(body(bob, ann, avatar)[0]!, 2.5, 0.001);
    assertAlmostEquals(body(server, ann, avatar)[2]!, -1, 0.001);

    await talk(stage, server, ann, bob, avatar);
    await speak(stage, ann, bob, avatar);

    const gone = bob.link.peer!;
    const his = ann.handleFrom(bob, other);
    assert(ann.world.has(his));
    assertEquals(await bob.driver!.stop(), 0);
    await stage.until(
      "the others hear that bob went",
      () => server.gone.length === 1 && ann.gone.length === 1,
    );
    assertEquals([server.gone[0]![0], ann.gone[0]![0]], [gone, gone]);
    await stage.until("his avatar is gone", () => !ann.world.has(his));
    assertEquals(bob.lost, ["the driver said goodbye: asked to stop"]);

    assertEquals(await server.driver!.stop(), 0);
    await stage.until("ann hears of the server's end", () => ann.lefts.length > 0);
    assertEquals(
      [ann.lefts[0]!.code, ann.lefts[0]!.reason, ann.lefts[0]!.final],
      [CloseCode.GoingAway, "asked to stop", false],
    );
    assertEquals(await ann.driver!.stop(), 0);
    for (const { driver } of [server, ann, bob]) assertEquals(driver!.err, "");
  }));

function body(at: StageEngine, of: StageEngine, handle: number): number[] {
  return at.seen(of, handle, "Avatar")?.body as number[];
}

/** Events, a reliable channel both ways, unreliable messages. */
async function talk(
  stage: ProcessStage,
  server: StageEngine,
  ann: StageEngine,
  bob: StageEngine,
  avatar: number,
): Promise<void> {
  assert(ann.link.sendEvent("Wave", { entity: avatar, kind: "applause" }));
  assert(server.link.sendEvent("Announce", { text: "welcome" }));
  await stage.until(
    "the events arrive",
    () => server.events.length > 0 && bob.events.length > 1 && ann.events.length > 0,
  );
  const wave = bob.events.find((event) => event.name === "Wave")!;
  assertEquals(wave.values, { entity: bob.handleFrom(ann, avatar), kind: "applause" });
  assertEquals(wave.info.from, ann.link.peer);
  assertEquals(ann.events.map(({ name, values }) => [name, values]), [
    ["Announce", { text: "welcome" }],
  ]);

  const chat = ann.link.openChannel("chat")!;
  const answers: string[] = [];
  chat.onMessage = (bytes) => answers.push(text(bytes));
  assert(chat.send(new TextEncoder().encode("hello")));
  assert(chat.send(new TextEncoder().encode("are you there?")));
  await stage.until("the server hears the chat", () => server.channels[0]?.messages.length === 2);
  const heard = server.channels[0]!;
  assertEquals(heard.messages.map(text), ["hello", "are you there?"]);
  assertEquals([heard.channel.name, heard.channel.peer], ["chat", ann.link.peer]);
  assert(heard.channel.send(new TextEncoder().encode("yes")));
  await stage.until("ann hears the answer", () => answers.length === 1);
  assertEquals(answers, ["yes"]);

  const file = server.link.openChannel("files", { peer: bob.link.peer! })!;
  const sent = pattern(1_000_000);
  assert(file.send(sent));
  await stage.until("the file arrives", () => bob.channels[0]?.messages.length === 1);
  assertEquals(bob.channels[0]!.messages[0], sent);
  file.close("done");
  await stage.until("its channel closes", () => !bob.channels[0]!.channel.isOpen);

  const telemetry = bob.link.openChannel("telemetry")!;
  await stage.until("a message arrives, though any may be lost", async () => {
    telemetry.send(pattern(100));
    await delay(30);
    return (server.channels[1]?.messages.length ?? 0) > 0;
  });
  assertEquals(server.channels[1]!.messages[0], pattern(100));
}

/** Recorded voice from one client to the other. */
async function speak(
  stage: ProcessStage,
  ann: StageEngine,
  bob: StageEngine,
  avatar: number,
): Promise<void> {
  const packets = readVoicePackets().slice(10, 60);
  for (const packet of packets) {
    assert(ann.link.sendVoice(avatar, packet));
    await delay(20);
  }
  await stage.until("bob hears most of it", () => bob.voices.length >= packets.length * 0.8);
  const first = bob.voices[0]!;
  assertEquals(first.handle, bob.handleFrom(ann, avatar));
  for (const { frame, info } of bob.voices) assertEquals(frame, packets[info.sequence]);
  assertAlmostEquals(first.info.position![0], 2.5, 0.001);
  assertEquals(ann.voices, []);
}
