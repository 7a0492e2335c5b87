// The example manifests, run: each with a server's driver and two clients' as processes of their own, which exchange what the manifest allows
// and are refused what it does not. Only places differ from the files: sockets, the port, and the issuer's key where tokens are needed.

import { assert, assertEquals } from "@std/assert";
import { parse } from "jsonc-parser";
import { readVoicePackets } from "../../examples/recorded.ts";
import { issueFromFile, writeKeyFile } from "../../driver/token_command.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import type { DenialReport } from "../../protocol/engine_messages.ts";
import { base64Url, TestKey } from "../support/join_keys.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { delay, ProcessStage, type StageEngine } from "../support/process_stage.ts";
import { ROOT } from "../support/run_program.ts";

const VOICE = readVoicePackets().slice(10, 20);

/** One example on a stage: its world for everyone, its host for the server. */
class Example {
  readonly stage: ProcessStage;
  readonly #value: Loose;
  #issuerFile = "";

  constructor(stage: ProcessStage, name: string) {
    this.stage = stage;
    this.#value = parse(Deno.readTextFileSync(`${ROOT}examples/manifests/${name}.jsonc`));
  }

  /** The world takes tokens of an issuer whose key this test has. */
  async ownIssuer(): Promise<void> {
    this.#issuerFile = `${this.stage.folder}/issuer.jwk`;
    this.#value.world.identity.issuers = [await writeKeyFile(this.#issuerFile)];
  }

  server(): Promise<StageEngine> {
    const { world, host } = this.#value;
    return this.stage.server((value) => {
      const { engineSocket, listen, certificate } = value.host;
      value.world = world;
      value.host = { ...host, engineSocket, listen, certificate };
    });
  }

  /** A client whose driver was answered; with a role it shows a token for it. */
  async client(name: string, pin: string, role = ""): Promise<StageEngine> {
    const { stage } = this;
    const edit = (value: Loose) => value.world = this.#value.world;
    const engine = await stage.engine(name, stage.manifest(name, "client", edit));
    let credential = new Uint8Array(0);
    if (role !== "") {
      const key = new TestKey(name.length);
      const token = await issueFromFile({
        keyFile: this.#issuerFile,
        subject: name,
        role,
        world: this.#value.world.name,
        pin,
        holder: base64Url(key.publicKey),
        ttlS: 120,
      }, Math.floor(Date.now() / 1000));
      credential = new TextEncoder().encode(token);
      engine.link.onSign = (bytes) => Promise.resolve(key.sign(bytes));
    }
    engine.link.setConnect({ ...stage.order(pin), credential });
    stage.drive(engine);
    await stage.until(`${name} is answered`, () => engine.joins.length + engine.lefts.length > 0);
    return engine;
  }
}

/** What an engine's own door refused, by rule and subject. */
function denialsOf(engine: StageEngine): string[] {
  const told: string[] = [];
  engine.link.onDenied = ({ rule, subject }: DenialReport) => told.push(`${rule} ${subject}`);
  return told;
}

async function speak(engine: StageEngine, entity: number): Promise<boolean> {
  let passed = false;
  for (const packet of VOICE) {
    passed = engine.link.sendVoice(entity, packet);
    await delay(20);
  }
  return passed;
}

Deno.test("examples/manifests/private_room.jsonc lets invited people in, and tells leaders more than guests", () =>
  ProcessStage.play(async (stage) => {
    const example = new Example(stage, "private_room");
    await example.ownIssuer();
    const server = await example.server();
    const stranger = await example.client("anybody", server.pin);
    assertEquals([stranger.lefts[0]?.code, stranger.lefts[0]?.final], [CloseCode.Credential, true]);
    const guest = await example.client("guest", server.pin, "guest");
    const leader = await example.client("leader", server.pin, "leader");
    assertEquals([guest, leader].map(({ joins: [one] }) => one?.role), ["guest", "leader"]);

    const agenda = server.link.spawn({ Agenda: { item: "budget", notes: "cut it" } });
    const person = guest.link.spawn({ Person: { head: [1, 1.7, 0] } });
    const chair = leader.link.spawn({ Person: { head: [0, 1.7, 0] } });
    await stage.until(
      "all know all",
      () =>
        leader.handleFrom(guest, person) !== 0 && guest.handleFrom(leader, chair) !== 0 &&
        [guest, leader].every((one) => one.seen(server, agenda, "Agenda")?.item === "budget"),
    );
    assertEquals(leader.seen(server, agenda, "Agenda"), { item: "budget", notes: "cut it" });
    assertEquals(guest.seen(server, agenda, "Agenda"), { item: "budget", notes: "" });

    const denied = denialsOf(guest);
    assert(guest.link.sendEvent("RaiseHand", { who: person }));
    assert(leader.link.sendEvent("NextItem", {}));
    assertEquals(guest.link.sendEvent("NextItem", {}), false);
    assertEquals(guest.link.openChannel("documents")?.send(new Uint8Array(10)) ?? false, false);
    assert(await speak(guest, person));
    await stage.until(
      "what may pass arrives",
      () => server.events.length === 2 && leader.events.length === 1 && leader.voices.length > 0,
    );
    assertEquals(server.events.map(({ name }) => name).sort(), ["NextItem", "RaiseHand"]);
    assertEquals(server.voices, [], "the server's engine is not named among those who hear");
    assert(denied.includes("role event"), `${denied}`);
  }));

Deno.test("examples/manifests/public_world.jsonc lets anybody look, members take part, and moderators see reports", () =>
  ProcessStage.play(async (stage) => {
    const example = new Example(stage, "public_world");
    await example.ownIssuer();
    const server = await example.server();
    const visitor = await example.client("visitor", server.pin);
    const moderator = await example.client("moderator", server.pin, "moderator");
    assertEquals([visitor, moderator].map(({ joins: [one] }) => one?.role), [
      "visitor",
      "moderator",
    ]);

    const walker = visitor.link.spawn({ Avatar: { position: [0, 0, 0] } });
    const guard = moderator.link.spawn({
      Avatar: { position: [3, 0, 0] },
      NameTag: { text: "Mia" },
    });
    await stage.until(
      "each sees the other",
      () =>
        visitor.seen(moderator, guard, "NameTag")?.text === "Mia" &&
        moderator.handleFrom(visitor, walker) !== 0,
    );
    // The server's engine notes something about the visitor.
    const conduct = server.handleFrom(visitor, walker);
    server.link.set(conduct, "Conduct", { warnings: 1, reports: 7 });
    await stage.until(
      "who may know it does",
      () =>
        moderator.seen(visitor, walker, "Conduct")?.reports === 7 &&
        visitor.world.read(walker, "Conduct")?.warnings === 1,
    );
    assertEquals(visitor.world.read(walker, "Conduct"), { warnings: 1, reports: 0 });

    const denied = denialsOf(visitor);
    const who = visitor.handleFrom(moderator, guard);
    assert(visitor.link.sendEvent("Report", { who, why: "noise" }));
    assert(visitor.link.sendEvent("Gesture", { who: walker, kind: "wave" }));
    assertEquals(visitor.link.sendEvent("Remove", { who }), false);
    assertEquals(visitor.link.openChannel("chat")?.send(new Uint8Array(3)) ?? false, false);
    assertEquals(await speak(visitor, walker), false);
    assertEquals(visitor.link.set(walker, "NameTag", { text: "Eve" }), false);
    const chat = moderator.link.openChannel("chat")!;
    assert(chat.send(new TextEncoder().encode("hello")));
    assert(await speak(moderator, guard));
    await stage.until(
      "what may pass arrives",
      () =>
        server.events.length === 1 && moderator.events.length === 2 && visitor.voices.length > 0 &&
        server.channels.some(({ messages }) => messages.length === 1),
    );
    assertEquals(server.events[0]!.name, "Report", "gestures are not for the server's engine");
    // A visitor may listen to the chat, so its channel opens; what it says is refused at its own door.
    assertEquals(server.channels.map(({ messages }) => messages.length).sort(), [0, 1]);
    for (const one of ["role event", "role channel", "role voice", "role component"]) {
      assert(denied.includes(one), `${denied}`);
    }
    assertEquals(moderator.voices, []);
  }));

Deno.test("examples/manifests/relay.jsonc passes poses, gestures and voice on, and its engine hears only of poses", () =>
  ProcessStage.play(async (stage) => {
    const example = new Example(stage, "relay");
    const server = await example.server();
    const [ann, bob] = [
      await example.client("ann", server.pin),
      await example.client("bob", server.pin),
    ];
    const [hers, his] = [
      ann.link.spawn({ Pose: { body: [1, 0, 0] } }),
      bob.link.spawn({ Pose: { body: [2, 0, 0] } }),
    ];
    await stage.untilSame([server, ann, bob], 2);
    ann.link.set(hers, "Pose", { body: [1.5, 0, 0] });
    assert(ann.link.sendEvent("Gesture", { kind: "clap" }));
    assert(await speak(bob, his));
    await stage.until(
      "all of it arrives",
      () =>
        (bob.seen(ann, hers, "Pose")?.body as number[])[0] === 1.5 &&
        bob.events.length === 1 && ann.voices.length > 0,
    );
    assertEquals(bob.events[0]!.info.from, ann.link.peer);
    assertEquals([server.events, server.voices, server.channels], [[], [], []]);
    assertEquals(bob.link.spawn({ Pose: { body: [0, 0, 0] } }), 0, "one for each peer");
    assertEquals(server.link.sendEvent("Gesture", { kind: "nod" }), false);
  }));
