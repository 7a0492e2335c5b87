// A whole run of real drivers, with canaries in everything that is private, in good times and bad. Nothing that drivers print, log, count,
// report or leave on a disk holds one; and the same search finds them where contents belong.

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { writeCertificate } from "../../driver/certificate_files.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { issueFromFile, writeKeyFile } from "../../driver/token_command.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import { type ControlMessage, encodeControl } from "../../protocol/control_messages.ts";
import { decodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToEngine } from "../../protocol/engine_messages.ts";
import { FrameBuffer } from "../../protocol/frame_buffer.ts";
import { MAX_ENGINE_FRAME_BYTES, PROTOCOL_VERSION } from "../../protocol/limits.ts";
import { compileGrants } from "../../permissions/compile.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { connectQuic } from "../../transport/quic.ts";
import type { LogEntry } from "../../engine/mod.ts";
import { Canaries } from "../support/canaries.ts";
import { QuietPlace } from "../support/emissions.ts";
import { FakeEngine, welcomeOf } from "../support/fake_engine.ts";
import { base64Url, TestKey } from "../support/join_keys.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { sha256 } from "../support/pair.ts";
import { delay, ProcessStage, type StageEngine } from "../support/process_stage.ts";
import { ROOT } from "../support/run_program.ts";

/** The server's address; peers come from 127.0.0.1. */
const SERVER_ADDRESS = "127.77.66.55";
const PEER_ADDRESS = "127.0.0.1";

/** What a healthy driver may print when it is asked to print more. */
const TOLD_BY_VERBOSE =
  /^syncra: (the certificate of the server does not have the pin 6{64}: .*|the server did not answer in time: .*|the server refused the connection, or nobody listens there)$/;

/** Kinds that carry contents, names that scripts gave, or secrets that an engine keeps: this is where they belong. */
const CONTENT_KINDS: readonly ToEngine["kind"][] = [
  "batch",
  "event",
  "voice",
  "channelOpen",
  "channelData",
  "stateHash",
  "joined",
  "identity",
  "sign",
  "nonces",
];

/** What a driver said to its engine, frame by frame. */
class Ear {
  /** Bytes of frames that carry contents. */
  readonly contents: Uint8Array[] = [];
  /** Bytes of all other frames, by kind. */
  readonly talk: { readonly kind: string; readonly bytes: Uint8Array }[] = [];
  #frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);

  /** Listens in on everything that an engine hears. */
  constructor({ link }: StageEngine) {
    const handleBytes = link.handleBytes.bind(link);
    const handleConnected = link.handleConnected.bind(link);
    link.handleBytes = (chunk) => {
      this.#take(chunk);
      handleBytes(chunk);
    };
    link.handleConnected = () => {
      this.#frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
      return handleConnected();
    };
  }

  #take(chunk: Uint8Array): void {
    this.#frames.handleBytes(chunk);
    for (let f = this.#frames.pollFrame(); f !== undefined; f = this.#frames.pollFrame()) {
      const decoded = decodeToEngine(f);
      assert(decoded.ok, "the driver keeps to the page");
      const bytes = f.slice();
      const { kind } = decoded.message;
      if (CONTENT_KINDS.includes(kind)) this.contents.push(bytes);
      else this.talk.push({ kind, bytes });
    }
  }
}

function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Reads a driver's whole log. */
async function wholeLog({ link }: StageEngine): Promise<LogEntry[]> {
  const all: LogEntry[] = [];
  for (let since = 0;;) {
    const { entries, next } = await link.readLog({ level: "debug", since });
    all.push(...entries);
    if (entries.length === 0) return all;
    since = next;
  }
}

Deno.test("no driver prints, logs, counts, reports or stores anything private, in a whole run with mishaps", () =>
  ProcessStage.play(async (stage) => {
    const canaries = new Canaries();
    const folder = `${stage.folder}/drivers`;
    Deno.mkdirSync(folder);
    const place = await QuietPlace.make(folder);
    try {
      await playAll(stage, place, canaries);
      assertEquals(canaries.find(place.printed), [], place.printed);
      // The runtime's own cache of modules is all that a driver leaves, and no contents are in it.
      const cached = /^cache\/(gen\/|\w+_cache_v\d+(-wal|-shm|-journal)?$)/;
      const left = place.files().filter((path) => !cached.test(path));
      assertEquals(left, [
        "cache/",
        "cache/node_compat_bin/",
        "home/",
        "temporary/",
        "work/",
      ]);
      for (const path of place.files()) {
        // That address stands in our own source.
        const found = path.endsWith("/") ? [] : canaries.find(place.read(path), "peer's address");
        assertEquals(found, [], path);
      }
    } catch (error) {
      throw new Error(`the drivers said: ${place.printed}`, { cause: error });
    } finally {
      await place.clear();
    }
  }));

async function playAll(stage: ProcessStage, place: QuietPlace, canaries: Canaries): Promise<void> {
  // ---- who there is, and what they hide
  const key = await writeKeyFile(`${stage.folder}/issuer.jwk`);
  const { certFile, keyFile } = await writeCertificate(`${stage.folder}/certs`, 2, [
    SERVER_ADDRESS,
  ]);
  const keyText = Deno.readTextFileSync(keyFile).replaceAll(/-----.*-----|\s/g, "");
  canaries.add("private key", Uint8Array.fromBase64(keyText).slice(-48));
  canaries.addForms("folder", stage.folder);
  canaries.addForms("peer's address", PEER_ADDRESS);
  let world = "";
  const edit = (value: Loose) => {
    world = value.world.name;
    value.world.identity = { anonymous: true, issuers: [key] };
    value.world.resumeMs = 5_000;
    value.host.privacy = { retentionSeconds: 600, logLevel: "debug" };
    if (value.host.role === "server") {
      value.host.listen = `${SERVER_ADDRESS}:${stage.port}`;
      value.host.certificate = { certFile, keyFile };
    } else value.host.connect = [`${SERVER_ADDRESS}:${stage.port}`];
  };
  const engines: StageEngine[] = [];
  const ears = new Map<StageEngine, Ear>();
  const engineOf = async (name: string, role: "server" | "client") => {
    const engine = await stage.engine(name, stage.manifest(name, role, edit));
    engines.push(engine);
    ears.set(engine, new Ear(engine));
    engine.link.onDenied = (denial) => denials.push(JSON.stringify(denial));
    return engine;
  };
  const denials: string[] = [];

  const server = await engineOf("server", "server");
  let serverDriver = place.launch(server.manifestFile);
  await stage.until("the server's driver listens", () => server.joins.length > 0);
  const { pin } = server;
  const holder = new TestKey(9);
  const subject = canaries.word("token's subject");
  const token = await issueFromFile({
    keyFile: `${stage.folder}/issuer.jwk`,
    subject,
    role: "player",
    world,
    pin,
    holder: base64Url(holder.publicKey),
    ttlS: 300,
  }, Math.floor(Date.now() / 1000));
  const claims = JSON.parse(
    new TextDecoder().decode(
      Uint8Array.fromBase64(token.split(".")[1]!, { alphabet: "base64url" }),
    ),
  ) as { jti: string };
  canaries.add("token", token);
  canaries.add("token's signature", token.split(".")[2]!);
  canaries.add("token's nonce", claims.jti);
  const url = `quic://${SERVER_ADDRESS}:${stage.port}`;
  const clientOf = async (name: string, shown = "", expected = pin) => {
    const client = await engineOf(name, "client");
    client.link.onSign = (bytes) => holder.sign(bytes);
    const credential = new TextEncoder().encode(shown);
    client.link.setConnect({ url, pin: expected, credential });
    return { client, driver: place.launch(client.manifestFile) };
  };
  const ann = await clientOf("ann", token);
  const bob = await clientOf("bob");
  await stage.until("both are in", () => ann.client.joins.length + bob.client.joins.length === 2);

  // ---- contents of every sort
  const avatar = ann.client.link.spawn({
    Avatar: { body: [321.125, 0, 0] },
    Name: { text: canaries.word("name") },
  });
  canaries.addForms("position", "321.125");
  bob.client.link.spawn({ Avatar: { body: [322, 0, 0] } });
  const rating = 0x5ec2_e7a5;
  canaries.addForms("secret rating", String(rating), rating.toString(16));
  server.link.spawn({
    Score: { score: 1, secretRating: rating },
    Greeting: { text: canaries.word("greeting") },
  });
  await stage.until(
    "names are seen",
    () => bob.client.seen(ann.client, avatar, "Name") !== undefined,
  );
  assert(server.link.sendEvent("Announce", { text: canaries.word("event") }));
  const chat = ann.client.link.openChannel("chat")!;
  const said = canaries.word("channel message");
  chat.send(new TextEncoder().encode(said));
  const script = ann.client.link.openChannel(`script/${canaries.word("script's name")}`)!;
  script.send(canaries.bytes("script's message"));
  const frame = Uint8Array.from([0x78, ...canaries.bytes("voice", 40)]);
  await stage.until("contents arrive", async () => {
    ann.client.link.sendVoice(avatar, frame);
    await delay(20);
    return bob.client.voices.length > 0 && bob.client.events.length > 0 &&
      server.channels.length === 2 && server.channels.every(({ messages }) => messages.length > 0);
  });
  chat.close(canaries.word("reason of a closed channel"));

  // ---- peers that break the rules
  const grants = compileGrants(
    parseManifest(Deno.readTextFileSync(server.manifestFile), server.manifestFile),
    sha256,
  );
  const schemaHash = Uint8Array.fromHex(grants.schemaHash);
  const join: ControlMessage = {
    kind: "join",
    protocolVersion: PROTOCOL_VERSION,
    schemaHash,
    credential: "none",
    resume: undefined,
  };
  const stray = canaries.word("stray bytes");
  const words = new TextEncoder().encode(stray);
  const hostile = async (joined: ControlMessage, ...then: (ControlMessage | Uint8Array)[]) => {
    const connection = await connectQuic({ host: SERVER_ADDRESS, port: stage.port, pin });
    const answered = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    connection.start({
      handleDatagram: () => {},
      handleStream: () => {},
      handleClosed: () => {
        closed.resolve();
        answered.resolve();
      },
    });
    const control = connection.openStream();
    control.setHandler({
      handleData: () => answered.resolve(),
      handleEnd: () => {},
      handleReset: () => {},
      handleWritable: () => {},
    });
    control.write(encodeControlFrame(encodeControl(joined)));
    await answered.promise;
    for (const one of then) {
      if (one instanceof Uint8Array) connection.sendDatagram(one);
      else control.write(encodeControlFrame(encodeControl(one)));
    }
    await delay(60);
    connection.close(CloseCode.GoingAway, stray);
    await closed.promise;
  };
  await hostile(join, words, { kind: "bye", code: 0, reason: stray });
  const event = { kind: "event", eventId: 2, from: 0, time: 64, stateTicks: 0 } as const;
  await hostile(join, { ...event, payload: words }, { ...event, eventId: 999, payload: words });
  const secret = canaries.bytes("guessed secret", 32);
  await hostile({ ...join, resume: { peer: ann.client.link.peer!, secret } });
  await hostile({ ...join, credential: "token" }, {
    kind: "proof",
    token: words,
    signature: canaries.bytes("forged signature", 64),
  });
  // The token again, by one who has it and its key.
  const thief = await clientOf("thief", token);
  await stage.until("the thief is refused", () => thief.client.lefts.length > 0);
  assertEquals(thief.client.lefts[0]!.code, CloseCode.Credential);
  // A client whose engine expects another server than the one that answers.
  const lost = await clientOf("lost", "", "66".repeat(32));
  await stage.until("it does not come through", () => lost.client.lefts.length > 0);

  // ---- a kick, a killed driver, a resume
  const kickWords = canaries.word("reason of a kick");
  assert(server.link.kick(bob.client.link.peer!, kickWords));
  await stage.until("bob is out", () => bob.client.lefts.length > 0);
  assertEquals(bob.client.lefts[0]!.reason, kickWords, "the kicked engine is told, nobody else");
  const tickets = [...ears.get(ann.client)!.contents].flatMap((bytes) => {
    const decoded = decodeToEngine(bytes);
    return decoded.ok && decoded.message.kind === "joined" ? [decoded.message.resume] : [];
  });
  canaries.add("resume secret", tickets[0]!.slice(2));
  const logs = new Map<string, LogEntry[]>();
  for (const engine of engines) logs.set(engine.name, await wholeLog(engine));
  ann.driver.signal("SIGKILL");
  await ann.driver.ended;
  ann.client.link.setConnect({ url, pin, credential: new Uint8Array(0) });
  const annAgain = place.launch(ann.client.manifestFile);
  await stage.until("ann is back", () => ann.client.joins.length === 2);
  assert(ann.client.joins[1]!.resumed);
  logs.set("server, after a resume", await wholeLog(server));
  serverDriver.signal("SIGKILL");
  await serverDriver.ended;
  await stage.until("ann hears that the server is gone", () => ann.client.lefts.length > 0);
  serverDriver = place.launch(server.manifestFile);
  await stage.until("the next driver listens", () => server.joins.length === 2);
  await stage.until("ann is in once more", () => ann.client.joins.length === 3);
  for (const engine of engines) logs.set(`${engine.name} again`, await wholeLog(engine));

  for (const driver of [annAgain, bob.driver, thief.driver, lost.driver, serverDriver]) {
    assertEquals(await driver.stop(), ExitCode.Ok, driver.err);
    // `--verbose` tells why a connection could not be made, without saying to whom.
    const said = driver.err.split("\n").filter((line) => !TOLD_BY_VERBOSE.test(line));
    assertEquals([driver.out, said.join("\n")], ["", ""]);
    assertEquals(driver.err.includes(SERVER_ADDRESS), false, driver.err);
  }

  // ---- the verdict: what was told beside contents
  for (const [engine, ear] of ears) {
    for (const { kind, bytes } of ear.talk) {
      const kicked = kind === "left" && engine === bob.client ? ["reason of a kick"] : [];
      assertEquals(canaries.find(bytes, ...kicked), [], `${engine.name} was told by ${kind}`);
      if (engine === server) continue;
      const text = new TextDecoder("latin1").decode(bytes);
      assertEquals(text.includes(SERVER_ADDRESS), false, `address of the server in ${kind}`);
    }
  }
  for (const [name, entries] of logs) {
    assertGreater(entries.length, 3, name);
    assertEquals(canaries.find(JSON.stringify(entries)), [], name);
  }
  for (const denial of denials) assertEquals(canaries.find(denial), []);
  for (const { stats } of engines) assertEquals(canaries.find(JSON.stringify(stats)), []);

  // ---- the control: the same search finds contents where they belong, and the log tells what happened
  const heard = (engine: StageEngine) => canaries.find(joinBytes(ears.get(engine)!.contents));
  assertEquals(
    ["name", "event", "greeting", "voice"].filter((one) => !heard(bob.client).includes(one)),
    [],
  );
  const atServer = ["name", "channel message", "script's name", "script's message", "token"];
  assertEquals(atServer.filter((one) => !heard(server).includes(one)), []);
  assert(heard(ann.client).includes("resume secret"));
  assertEquals(heard(bob.client).includes("secret rating"), false);
  const names = new Set([...logs.values()].flat().map(({ name }) => name));
  const expected = [
    ...["Started", "Schema", "CertificateEnding", "EngineLinked", "Listening", "Connected"],
    ...["PeerJoined", "TokenUsed", "PeerLeft", "Faulty", "Denied", "ResumeRefused", "JoinRefused"],
    ...["TokenRefused", "PeerResumed", "Joined", "GivenUp", "Left", "Connecting"],
  ];
  assertEquals(expected.filter((name) => !names.has(name)), []);
  assertGreater(denials.length, 0);

  await mishaps(stage, place, canaries, edit);
}

/** Drivers whose engine or whose own program goes wrong. */
async function mishaps(
  stage: ProcessStage,
  place: QuietPlace,
  canaries: Canaries,
  edit: (value: Loose) => void,
): Promise<void> {
  const file = stage.manifest("odd", "server", edit);
  const socket = `${stage.folder}/odd.sock`;
  const grants = compileGrants(parseManifest(Deno.readTextFileSync(file), file), sha256);
  const reason = canaries.word("engine's words");
  const endings: [code: number, play: (engine: FakeEngine) => Promise<void>][] = [
    // It crashes.
    [ExitCode.EngineEnded, () => Promise.resolve()],
    // It ends the link with words of its own.
    [ExitCode.EngineEnded, (engine) => engine.say({ kind: "goodbye", code: 72, reason })],
    // It sends a frame that is none, full of contents.
    [
      ExitCode.EngineRefused,
      (engine) =>
        engine.sayBytes(
          Uint8Array.from([99, 0, 0, 0, ...new TextEncoder().encode(reason.repeat(9))]),
        ),
    ],
  ];
  for (const [code, play] of endings) {
    let driver!: ReturnType<QuietPlace["launch"]>;
    await FakeEngine.listen(socket, async (engine) => {
      driver = place.launch(file);
      await engine.hear("hello");
      await engine.say(welcomeOf(grants));
      await engine.hear("joined");
      await play(engine);
      if (code === ExitCode.EngineRefused) await driver.code();
    });
    assertEquals(await driver.code(), code, driver.err);
    assertMatch(driver.err, /^syncra: The engine.*\.\n$/);
  }
  // A mistake of the program itself.
  const module = `${ROOT}tests/support/crashing_driver.ts`;
  for (const where of ["timer", "engine", "promise"]) {
    await FakeEngine.listen(socket, async (engine) => {
      const driver = place.run(Deno.execPath(), [
        ...["run", "-A", "-q", "--cached-only", "--no-check", `--config=${ROOT}deno.json`],
        ...[module, file, where, reason],
      ]);
      await engine.hear("hello");
      await engine.say(welcomeOf(grants));
      await engine.drain();
      assertEquals(await driver.code(), ExitCode.Bug, where);
      assertMatch(
        driver.err,
        /^syncra: A mistake of this program ended it: Misfit(?: at [a-z_/.:0-9 <]+)?\. Please report this line\.\n$/,
        where,
      );
    });
  }
}
