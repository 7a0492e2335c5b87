// The demo: a server and its clients, each an engine with a driver process of its own under exactly the rights of its manifest, talk over
// real QUIC on loopback. Recorded people move, one of them speaks, writes are forged at three doors; at the end everything is judged.

import type { DenialReport } from "../protocol/engine_messages.ts";
import { ExitCode } from "../driver/exit_codes.ts";
import { type ComponentValues, FlushPacer, type ViolationInfo } from "../engine/mod.ts";
import { AvatarJudge, percentile } from "./demo/avatars.ts";
import { occursAtAnyBit } from "./demo/bit_search.ts";
import { Forgeries, type Scene } from "./demo/forgeries.ts";
import { type Actor, Stage } from "./demo/stage.ts";
import { LiveTable } from "./demo/table.ts";
import { Verdict } from "./demo/verdict.ts";
import { VoiceJudge } from "./demo/voice.ts";
import { delay, waitUntil, within } from "./demo/waiting.ts";
import { CLIP_HZ, poseAt, readClips, readVoicePackets, VOICE_PACKET_MS } from "./recorded.ts";

/** How the demo runs. */
export interface DemoOptions {
  /** Seconds of play, 8 at least. */
  readonly seconds: number;
  /** Clients beside the hostile peer, 2 at least. */
  readonly clients: number;
  /** Prints every denial as it comes. */
  readonly verbose?: boolean;
}

const ENGINE_HZ = 30;
/** Lies in components that the manifest does not name, in every world. */
const CANARY = "canary-7f3a91-never-leaves";
/** Lies in a component that everyone may read. */
const GREETING = "control-52c8e0-everyone-reads";
const SPACING_M = 1.5;
/** Client that speaks, and client that walks out of its range and back. */
const SPEAKER = 0;
const WALKER = 1;

/** Runs the demo; the exit code says whether its verdict is good. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const stage = await Stage.create();
  const demo = new Demo(stage, options);
  try {
    await demo.start();
    await demo.play();
    return await demo.judge();
  } finally {
    await demo.end();
  }
}

class Demo {
  readonly #stage: Stage;
  readonly #options: DemoOptions;
  readonly #clips = readClips();
  readonly #avatars: AvatarJudge;
  readonly #voice: VoiceJudge;
  readonly #clients: Actor[] = [];
  readonly #handles: number[] = [];
  /** Where each client's body is, as last set. */
  readonly #bodies: number[][] = [];
  readonly #denials = new Map<string, DenialReport[]>();
  /** Broken checks that the server's engine was told of. */
  readonly #violations: ViolationInfo[] = [];
  readonly #forgeries: Forgeries;
  readonly #table: LiveTable;
  #pacer: FlushPacer | undefined;
  #server!: Actor;
  #pin = "";
  #greetingId = 0;

  constructor(stage: Stage, options: DemoOptions) {
    this.#stage = stage;
    this.#options = options;
    const avatar = stage.grants.components.find((component) => component.name === "Avatar")!;
    this.#avatars = new AvatarJudge(avatar, stage.grants.tickHz);
    this.#voice = new VoiceJudge(stage.grants.voice.range, readVoicePackets());
    this.#table = new LiveTable(() => [this.#server, ...this.#clients]);
    this.#forgeries = new Forgeries(this.#scene());
  }

  /** What the forger sees; the server and the sign come later than it. */
  #scene(): Scene {
    const server = () => this.#server;
    const pin = () => this.#pin;
    const sign = () => this.#greetingId;
    return {
      stage: this.#stage,
      get server() {
        return server();
      },
      get pin() {
        return pin();
      },
      get sign() {
        return sign();
      },
      clients: this.#clients,
      handles: this.#handles,
      greeting: GREETING,
      denials: this.#denials,
      violations: this.#violations,
      poseOf: (index, sample, share) => this.#poseOf(index, sample, share),
      idOf: (index) => this.#idOf(index),
      nextPacket: () => this.#voice.nextPacket,
    };
  }

  // ---- before

  async start(): Promise<void> {
    const listening = Promise.withResolvers<void>();
    print(
      `Starting a server and ${this.#options.clients} clients, every driver a process of its own ...`,
    );
    this.#server = await this.#stage.start("server", "server", {
      onDriverReady: (hello) => this.#pin = hello.certificateHash,
      onJoined: () => listening.resolve(),
      onDenied: (denial) => this.#noteDenial("server", denial),
      onViolation: (violation) => this.#violations.push(violation),
    });
    await within(10_000, "the server's driver listens", listening.promise);
    const command = this.#server.driver.command;
    print(`The server's driver: deno ${command.args.map(shorten).join(" ")}`);
    print(
      `  environment: ${
        Object.keys(command.env).join(", ") || "empty"
      }; rights to files and sockets given up after connecting.`,
    );
    for (let i = 0; i < this.#options.clients; i++) await this.#startClient(i);
    this.#plantState();
    this.#server.engine.flush();
    this.#clients.forEach(({ engine }, index) => {
      const nowMs = performance.now();
      const pose = this.#poseOf(index, 0, 0);
      this.#avatars.noteFlushed(`client ${index}`, engine.flush(), pose, nowMs);
    });
    await waitUntil(
      "everyone sees everyone",
      () =>
        this.#clients.every(({ engine }) =>
          this.#clients.every((_other, index) =>
            this.#idOf(index) !== 0 && engine.handleOf(this.#idOf(index)) !== 0
          )
        ),
    );
  }

  async #startClient(index: number): Promise<void> {
    const name = `client ${index}`;
    const joined = Promise.withResolvers<void>();
    const actor = await this.#stage.start(`client${index}`, "client", {
      onJoined: ({ timeline }) => {
        this.#avatars.noteJoined(name, timeline);
        joined.resolve();
      },
      onDenied: (denial) => this.#noteDenial(name, denial),
      onStamped: (batch, time) => {
        this.#avatars.noteStamped(name, batch, time);
        // All engines of this process flush in one go, so one of them sets the pace.
        if (index === 0) this.#pacer?.handleStamped(batch, time);
      },
      onRemoteChange: (handle, component, values, at) => {
        if (component !== "Avatar") return;
        const id = actor.engine.networkIdOf(handle);
        this.#avatars.noteReceived(name, id, values, at.time, performance.now());
      },
      onVoice: (_handle, frame, info) => this.#voice.noteHeard(name, info.sequence, frame),
    }, {
      url: `quic://127.0.0.1:${this.#stage.port}`,
      pin: this.#pin,
      credential: new Uint8Array(0),
    });
    this.#clients.push(actor);
    await within(10_000, `${name} joins`, joined.promise);
  }

  /** Avatars and the greeting that everyone reads; secrets that nobody but their own engine has. */
  #plantState(): void {
    this.#clients.forEach((client, index) => {
      const pose = this.#poseOf(index, 0, 0);
      const handle = client.engine.spawn({
        Avatar: pose,
        Name: { text: `player ${index}` },
      });
      this.#handles.push(handle);
      this.#bodies.push(pose.body as number[]);
      client.world.set(handle, "Diary", { text: `${CANARY} of client ${index}` });
      client.world.set(client.world.createLocal(), "Wallet", { text: CANARY, coins: 12 });
    });
    const { engine, world } = this.#server;
    const sign = engine.spawn({
      Greeting: { text: GREETING },
      Score: { score: 42, secretRating: 0x5eed },
    });
    this.#greetingId = sign;
    world.set(sign, "AdminNotes", { text: CANARY });
  }

  /** A recorded pose; the walker wanders out of the speaker's range and back. */
  #poseOf(index: number, sample: number, share: number): ComponentValues {
    const side = Math.ceil(Math.sqrt(this.#options.clients));
    const x = (index % side - (side - 1) / 2) * SPACING_M + (index === WALKER ? walkAt(share) : 0);
    const z = (Math.floor(index / side) - (side - 1) / 2) * SPACING_M;
    const clip = this.#clips[index % this.#clips.length]!;
    return poseAt(clip, Math.round(sample * CLIP_HZ / ENGINE_HZ) + index * 97, [
      x,
      z,
    ]) as unknown as ComponentValues;
  }

  // ---- during

  async play(): Promise<void> {
    const { seconds } = this.#options;
    const startMs = performance.now();
    const pacer = new FlushPacer(this.#stage.grants.tickHz, startMs);
    this.#pacer = pacer;
    const samples = Math.round(seconds * ENGINE_HZ);
    const frames = Math.round(seconds * 1000 / VOICE_PACKET_MS);
    this.#table.start();
    const forgeries = this.#schedule(seconds);
    let sample = 0;
    let frame = 0;
    while (sample < samples || frame < frames) {
      const elapsed = performance.now() - startMs;
      if (sample < samples && pacer.nextMs <= performance.now()) {
        this.#playSample(sample++, samples);
      }
      while (frame < frames && frame * VOICE_PACKET_MS <= elapsed) this.#speak(), frame += 1;
      for (const forgery of forgeries) {
        if (forgery.done || elapsed < forgery.atMs) continue;
        forgery.done = true;
        await forgery.run();
      }
      this.#table.update(elapsed / 1000);
      const next = Math.min(
        sample < samples ? pacer.nextMs - startMs : Infinity,
        frame < frames ? frame * VOICE_PACKET_MS : Infinity,
      );
      if (next < Infinity) await delay(Math.max(0, next - (performance.now() - startMs)));
    }
    await delay(1_000);
    this.#table.stop();
  }

  #playSample(sample: number, samples: number): void {
    this.#clients.forEach((client, index) => {
      const handle = this.#handles[index]!;
      const pose = this.#poseOf(index, sample, sample / samples);
      this.#bodies[index] = pose.body as number[];
      client.engine.set(handle, "Avatar", pose);
      const nowMs = performance.now();
      const batch = client.engine.flush();
      if (index === 0) this.#pacer?.handleFlushed(batch, nowMs);
      if (batch !== 0) {
        this.#avatars.noteFlushed(`client ${index}`, batch, pose, nowMs);
      }
    });
    this.#server.engine.flush();
    this.#forgeries.tick();
  }

  #speak(): void {
    const speaker = this.#clients[SPEAKER]!;
    const mouth = this.#bodies[SPEAKER]!;
    if (!speaker.engine.sendVoice(this.#handles[SPEAKER]!, this.#voice.nextPacket)) return;
    const distances = new Map<string, number>();
    this.#clients.forEach((_client, index) => {
      if (index === SPEAKER) return;
      const ear = this.#bodies[index]!;
      distances.set(
        `client ${index}`,
        Math.hypot(ear[0]! - mouth[0]!, ear[1]! - mouth[1]!, ear[2]! - mouth[2]!),
      );
    });
    this.#voice.noteSpoken(distances);
  }

  #schedule(seconds: number): { atMs: number; done: boolean; run: () => Promise<void> | void }[] {
    const at = (share: number, run: () => Promise<void> | void) => ({
      atMs: seconds * 1000 * share,
      done: false,
      run,
    });
    const forgeries = this.#forgeries;
    return [
      at(0.10, () => forgeries.hostileJoins()),
      at(0.30, () => forgeries.throughSdk()),
      at(0.45, () => forgeries.rawFrames()),
      at(0.60, () => forgeries.overNetwork()),
      at(0.75, () => forgeries.guessResumeSecret()),
    ];
  }

  #idOf(index: number): number {
    return this.#clients[index]!.engine.networkIdOf(this.#handles[index]!);
  }

  #noteDenial(who: string, denial: DenialReport): void {
    let list = this.#denials.get(who);
    if (list === undefined) this.#denials.set(who, list = []);
    list.push(denial);
    if (this.#options.verbose === true) print(`  ${who}: ${JSON.stringify(denial)}`);
  }

  // ---- after

  async judge(): Promise<number> {
    const verdict = new Verdict();
    this.#judgeAvatars(verdict);
    await this.#judgeHashes(verdict);
    this.#judgeVoice(verdict);
    this.#judgeSecrets(verdict);
    this.#forgeries.judge(verdict);
    const { latenciesMs } = this.#avatars;
    print(
      `Latency from engine to engine: p50 ${percentile(latenciesMs, 0.5).toFixed(1)} ms, ` +
        `p99 ${percentile(latenciesMs, 0.99).toFixed(1)} ms over ${latenciesMs.length} samples.`,
    );
    print(
      verdict.isGood ? "Verdict: everything held." : "Verdict: FAILED, see the lines marked so.",
    );
    return verdict.isGood ? ExitCode.Ok : ExitCode.DemoFailed;
  }

  #judgeAvatars(verdict: Verdict): void {
    const results = this.#avatars.judge((id) => this.#ownerName(id));
    const pairs = this.#clients.length * (this.#clients.length - 1);
    const wrong = results.reduce((sum, one) => sum + one.wrong, 0);
    const worst = Math.min(
      ...results.map(({ received, sent }) => sent === 0 ? 0 : received / sent),
    );
    const late = results.filter(({ isLate }) => isLate).length;
    verdict.add(
      `each of ${pairs} copies of an avatar equals what its owner sent, as quantised integers`,
      results.length === pairs && wrong === 0,
      `${
        results.reduce((sum, one) => sum + one.received, 0)
      } samples compared in ${results.length} copies, ${wrong} wrong`,
    );
    verdict.add(
      "at least 90 % of the sent sample times arrive in each copy",
      results.length === pairs && late === 0 && worst >= 0.9,
      `worst ${(100 * worst).toFixed(1)} %, ${late} copies began late`,
    );
  }

  #ownerName(id: number): string | undefined {
    const index = this.#clients.findIndex((_client, at) => this.#idOf(at) === id);
    return index < 0 ? undefined : `client ${index}`;
  }

  async #judgeHashes(verdict: Verdict): Promise<void> {
    const hashes = await Promise.all(this.#clients.map(({ engine }) => {
      const asked = engine.stateHash();
      engine.flush();
      return within(5_000, "state hashes", asked);
    }));
    let compared = 0;
    let equal = 0;
    this.#clients.forEach((_owner, index) => {
      const expected = hashes[index]!.get(this.#handles[index]!);
      this.#clients.forEach((other, at) => {
        if (at === index) return;
        compared += 1;
        const copy = hashes[at]!.get(other.engine.handleOf(this.#idOf(index)));
        if (expected !== undefined && copy === expected) equal += 1;
      });
    });
    verdict.add(
      "all copies ended equal (hash, owner's driver against each receiver's)",
      compared > 0 && equal === compared,
      `${equal} of ${compared}`,
    );
  }

  #judgeVoice(verdict: Verdict): void {
    const results = this.#voice.judge();
    const inRange = results.reduce((sum, one) => sum + one.inRange, 0);
    const heard = results.reduce((sum, one) => sum + one.heardInRange, 0);
    const outOfRange = results.reduce((sum, one) => sum + one.outOfRange, 0);
    const leaked = results.reduce((sum, one) => sum + one.heardOutOfRange, 0);
    const damaged = results.reduce((sum, one) => sum + one.damaged, 0);
    const worst = Math.min(...results.map((one) => one.heardInRange / Math.max(1, one.inRange)));
    verdict.add(
      "99 % of the voice frames in range arrive byte for byte",
      inRange >= 100 && worst >= 0.99 && damaged === 0,
      `${heard} of ${inRange}, worst listener ${(100 * worst).toFixed(1)} %, ${damaged} damaged`,
    );
    verdict.add(
      "no voice frame reaches anyone out of range",
      outOfRange >= 100 && leaked === 0,
      `${leaked} of ${outOfRange}`,
    );
  }

  #judgeSecrets(verdict: Verdict): void {
    const canary = new TextEncoder().encode(CANARY);
    const control = new TextEncoder().encode(GREETING);
    const sockets = [this.#server, ...this.#clients].map((actor) => actor.tap.bytes);
    const searched = [...sockets, this.#forgeries.plaintext];
    const bytes = searched.flat().reduce((sum, chunk) => sum + chunk.length, 0);
    const leaks = searched.filter((chunks) => occursAtAnyBit(chunks, canary)).length;
    const controls = searched.filter((chunks) => occursAtAnyBit(chunks, control)).length;
    verdict.add(
      "the canary is found nowhere",
      leaks === 0,
      `${(bytes / 1e6).toFixed(1)} MB of ${searched.length} sources searched at 8 bit offsets`,
    );
    verdict.add(
      "the same search finds the granted control text in each source",
      controls === searched.length,
      `${controls} of ${searched.length}`,
    );
  }

  async end(): Promise<void> {
    this.#table.stop();
    this.#forgeries.close();
    await this.#stage.end();
  }
}

/** How far the walker is from its place, metres, over the share of the play: out of range in the middle third. */
function walkAt(share: number): number {
  if (share < 0.25 || share > 0.85) return 0;
  if (share < 0.35) return 32 * (share - 0.25) / 0.1;
  if (share < 0.75) return 32;
  return 32 * (0.85 - share) / 0.1;
}

function print(line: string): void {
  console.log(line);
}

function shorten(argument: string): string {
  return argument.replaceAll(/\/[^,=\s]*\//g, ".../");
}
