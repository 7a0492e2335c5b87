// Forgeries at three doors: through the SDK, by raw frames on the engines' own sockets, and by a peer that speaks the network protocol
// without a driver. Each door must refuse its own share and report it.

import type { ComponentRows, DenialReport } from "../../protocol/engine_messages.ts";
import { encodeToDriver, encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ComponentValues, ViolationInfo } from "../../engine/mod.ts";
import { RowWriter } from "../../replication/row_codec.ts";
import { createValue } from "../../replication/value.ts";
import { connectQuic } from "../../transport/quic.ts";
import { HostilePeer } from "./hostile_peer.ts";
import type { Actor, Stage } from "./stage.ts";
import type { Verdict } from "./verdict.ts";
import { within } from "./waiting.ts";

/** Client whose avatar and voice are forged. */
const SPEAKER = 0;

/** Where the hostile peer's avatar leaps to, metres east and north: farther than any path could have lost steps for. */
const FAR_M = 400;

/** What the forger needs to see of the demo. */
export interface Scene {
  readonly stage: Stage;
  readonly server: Actor;
  readonly clients: readonly Actor[];
  /** Handle of each client's avatar in its own engine. */
  readonly handles: readonly number[];
  /** Pin of the server's certificate. */
  readonly pin: string;
  /** Handle, in the server's engine, of the entity with the granted text. */
  readonly sign: number;
  /** That text. */
  readonly greeting: string;
  /** Denials told so far, by engine. */
  readonly denials: ReadonlyMap<string, readonly DenialReport[]>;
  /** Broken checks told to the server's engine so far. */
  readonly violations: readonly ViolationInfo[];
  poseOf(index: number, sample: number, share: number): ComponentValues;
  /** Network id of a client's avatar. */
  idOf(index: number): number;
  nextPacket(): Uint8Array;
}

/** Makes the forgeries and judges what became of them. */
export class Forgeries {
  readonly #scene: Scene;
  readonly #sdkRefusals: { what: string; refused: boolean }[] = [];
  readonly #hostiles: HostilePeer[] = [];
  #guessRefusal: string | undefined;
  #forgedInjection = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Index of the client whose engine forges: never the speaker, whose avatar is forged. */
  get #forger(): number {
    return Math.min(2, this.#scene.clients.length - 1);
  }

  /** Every byte of plaintext that hostile peers were sent. */
  get plaintext(): Uint8Array[] {
    return this.#hostiles.flatMap((hostile) => hostile.received);
  }

  /** One slot of the hostile peers. */
  tick(): void {
    for (const hostile of this.#hostiles) hostile.tick();
  }

  /** Hostile peers leave. */
  close(): void {
    for (const hostile of this.#hostiles) hostile.close();
  }

  async #dial(resume?: { peer: number; secret: Uint8Array }): Promise<HostilePeer> {
    const connection = await connectQuic({
      host: "127.0.0.1",
      port: this.#scene.stage.port,
      pin: this.#scene.pin,
    });
    return new HostilePeer(this.#scene.stage.grants, connection, () => performance.now(), resume);
  }

  /** Lets the hostile peer in: it joins as anyone may. */
  async hostileJoins(): Promise<void> {
    const hostile = await this.#dial();
    await within(5_000, "the hostile peer is answered", hostile.answered);
    hostile.spawnAvatar("Avatar", this.#scene.poseOf(this.#scene.clients.length, 0, 0));
    this.#hostiles.push(hostile);
  }

  /** Door 1: game code asks the SDK for what it may not do. */
  throughSdk(): void {
    const { engine, world } = this.#scene.clients[this.#forger]!;
    const own = this.#scene.handles[this.#forger]!;
    const victim = engine.handleOf(this.#scene.idOf(SPEAKER));
    const sign = engine.handleOf(this.#scene.server.engine.networkIdOf(this.#scene.sign));
    const attempt = (what: string, allowed: unknown) =>
      this.#sdkRefusals.push({ what, refused: !allowed });
    attempt("write another's avatar", engine.set(victim, "Avatar", { body: [0, 9, 0] }));
    attempt("write a server's component", engine.set(sign, "Score", { score: 1_000_000 }));
    attempt("add a server's component", engine.set(own, "Score", { score: 1 }));
    attempt("write out of range", engine.set(own, "Avatar", { body: [1e6, 0, 0] }));
    attempt("write a number that is none", engine.set(own, "Avatar", { body: [NaN, 0, 0] }));
    attempt("despawn another's avatar", engine.despawn(victim));
    attempt("spawn a second avatar", engine.spawn({ Avatar: this.#scene.poseOf(0, 0, 0) }));
    attempt("send the server's event", engine.sendEvent("Announce", { text: "forged" }));
    attempt("send an undeclared event", engine.sendEvent("Teleport", {}));
    attempt("open an undeclared channel", engine.openChannel("backdoor"));
    attempt("speak for another", engine.sendVoice(victim, this.#scene.nextPacket()));
    // Behind the SDK's back, straight into the world: found at the next flush, refused, and put right.
    world.set(victim, "Avatar", { body: [0, 99, 0] });
    world.set(sign, "Greeting", { text: "forged in the world" });
    engine.flush();
    setTimeout(() => {
      const body = world.read(victim, "Avatar")!.body as number[];
      attempt("change another's avatar in the world", body[1]! > 50);
      attempt(
        "change the server's sign in the world",
        world.read(sign, "Greeting")!.text !== this.#scene.greeting,
      );
    }, 500);
  }

  /** Door 2: frames that no SDK sent, on the engine's own sockets, in both directions. */
  rawFrames(): void {
    const index = this.#forger;
    const client = this.#scene.clients[index]!;
    const victim = client.engine.handleOf(this.#scene.idOf(SPEAKER));
    const none = new Uint32Array(0);
    const avatar = this.#rows("Avatar", victim, this.#scene.poseOf(0, 0, 0));
    const score = this.#rows("Score", this.#scene.handles[index]!, { score: 7, secretRating: 7 });
    const undeclared: ComponentRows = { ...score, componentId: 999 };
    client.tap.inject(
      "toDriver",
      encodeToDriver({
        kind: "batch",
        id: 0x7fff_0001,
        spawns: none,
        spawnOwners: none,
        components: [avatar, score, undeclared],
        removes: none,
        despawns: Uint32Array.of(victim),
        zones: none,
      }),
    );
    client.tap.inject(
      "toDriver",
      encodeToDriver({ kind: "transfer", handle: victim, peer: client.engine.peer! }),
    );
    // A driver that was taken over would write what only the server's engine may.
    this.#forgedInjection = this.#scene.server.engine.stats.denials;
    this.#scene.server.tap.inject(
      "toEngine",
      encodeToEngine({
        kind: "batch",
        tick: 1,
        spawns: none,
        spawnIds: none,
        spawnOwners: none,
        components: [{
          ...this.#rows("Score", this.#scene.sign, { score: 999, secretRating: 1 }),
          times: Float64Array.of(1),
        }],
        removes: none,
        hides: none,
        despawns: none,
        zones: none,
        owners: none,
      }),
    );
  }

  /** Door 3: a peer without a driver. */
  overNetwork(): void {
    const hostile = this.#hostiles[0]!;
    const victim = this.#scene.idOf(SPEAKER);
    const sign = this.#scene.server.engine.networkIdOf(this.#scene.sign);
    hostile.forgeWrite(victim, "Avatar", this.#scene.poseOf(3, 0, 0));
    // Its own avatar, to the other end of the world at once.
    hostile.forgeWrite("own", "Avatar", {
      ...this.#scene.poseOf(3, 0, 0),
      body: [FAR_M, 1, FAR_M],
    });
    hostile.forgeWrite("own", "Score", { score: 5, secretRating: 5 });
    hostile.forgeWrite(sign, "Greeting", { text: "forged" });
    hostile.forgeWrite(900, "Avatar", this.#scene.poseOf(3, 0, 0));
    hostile.forgeVoice(victim, this.#scene.nextPacket());
    hostile.forgeEvent(2, { text: "forged" });
    hostile.forgeEvent(77, {});
    hostile.sendGarbage(crypto.getRandomValues(new Uint8Array(200)));
  }

  /** Claims another's place with a secret out of thin air. */
  async guessResumeSecret(): Promise<void> {
    const guess = await this.#dial({
      peer: this.#scene.clients[SPEAKER]!.engine.peer!,
      secret: crypto.getRandomValues(new Uint8Array(32)),
    });
    await within(5_000, "the guess is answered", guess.answered);
    this.#guessRefusal = guess.refusal ?? (guess.closed ? "closed" : undefined);
    guess.close();
  }

  #rows(name: string, handle: number, values: ComponentValues): ComponentRows {
    const component = this.#scene.stage.grants.components.find((one) => one.name === name)!;
    const writer = new RowWriter(component);
    const value = createValue(component);
    // The numbers do not matter: what is judged is who writes where.
    void values;
    for (const field of component.fields) {
      if (field.kind === "quat") value.lanes[field.laneOffset] = 3;
    }
    writer.push(component.allFields, value, () => 0);
    return {
      componentId: component.id,
      handles: Uint32Array.of(handle),
      masks: Uint32Array.of(component.allFields),
      rows: writer.finish(),
      times: new Float64Array(0),
    };
  }

  /** Whether each door refused its share and said so. */
  judge(verdict: Verdict): void {
    const kept = this.#sdkRefusals.filter((one) => !one.refused).map((one) => one.what);
    const told = this.#count("engine");
    verdict.add(
      "door 1, the SDK: every forged call is refused and reported",
      this.#sdkRefusals.length > 0 && kept.length === 0 && told >= this.#sdkRefusals.length - 1,
      kept.length === 0
        ? `${this.#sdkRefusals.length} attempts, ${told} reports`
        : `not refused: ${kept.join(", ")}`,
    );
    const index = this.#forger;
    const byDriver = (this.#scene.denials.get(`client ${index}`) ?? []).filter((one) =>
      one.door === "driver"
    );
    const rules = new Set(byDriver.map((one) => one.rule));
    const engineRefused = this.#scene.server.engine.stats.denials > this.#forgedInjection;
    const expected = ["notOwner", "undeclared", "authority"].filter((rule) => !rules.has(rule));
    verdict.add(
      "door 2, raw frames on the engine socket: refused in both directions and reported",
      expected.length === 0 && engineRefused,
      `driver's rules ${[...rules].join(", ")}${
        expected.length > 0 ? `; missing ${expected.join(", ")}` : ""
      }; ` +
        `the engine ${engineRefused ? "refused" : "did NOT refuse"} its own driver`,
    );
    const hostile = this.#hostiles[0];
    const reports = (this.#scene.denials.get("server") ?? []).filter((one) =>
      one.peer === hostile?.peer && one.door === "driver"
    );
    const subjects = new Set(reports.map((one) => `${one.rule} ${one.subject}`));
    const needed = [
      "notOwner component",
      "notOwner voice",
      "check component",
      "role event",
      "entityUnknown spawn",
    ];
    const missing = needed.filter((one) => !subjects.has(one));
    const faults = Object.entries(this.#scene.server.stats).filter(([name]) =>
      name.startsWith("fault.")
    );
    const faultCount = faults.reduce((sum, [, count]) => sum + count, 0);
    verdict.add(
      "door 3, a hostile peer: forged writes, voice and events refused and reported, malformed datagrams counted",
      missing.length === 0 && faultCount >= 3,
      `${[...subjects].join(", ")}; ${
        faults.map(([name, count]) => `${name.slice(6)} ${count}`).join(", ")
      }` +
        (missing.length > 0 ? `; missing ${missing.join(", ")}` : ""),
    );
    const { violations } = this.#scene;
    const honest = violations.filter((one) => one.peer !== hostile?.peer);
    const leap = violations.find((one) => one.peer === hostile?.peer && one.check === "speed");
    const handle = this.#scene.server.engine.handleOf(hostile?.avatar ?? 0);
    const place = this.#scene.server.world.read(handle, "Avatar")?.body as number[] | undefined;
    verdict.add(
      "a leap of the hostile avatar is refused, and no honest one is found at fault",
      leap !== undefined && honest.length === 0 && place !== undefined && place[0]! < FAR_M,
      leap === undefined
        ? "the leap was not told"
        : `${
          Math.round(leap.measured)
        } m/s, ${leap.limit} allowed; ${honest.length} honest ones at fault`,
    );
    verdict.add(
      "a guessed resume secret is refused",
      this.#guessRefusal !== undefined,
      this.#guessRefusal ?? "it was taken",
    );
    const sign = this.#scene.server.world.read(this.#scene.sign, "Score")!;
    const truth = this.#scene.server.world.read(this.#scene.sign, "Greeting")!;
    verdict.add(
      "nothing forged has changed the server's world",
      sign.score === 42 && truth.text === this.#scene.greeting,
      `score ${String(sign.score)}, greeting ${
        truth.text === this.#scene.greeting ? "intact" : "changed"
      }`,
    );
  }

  #count(door: string): number {
    return [...this.#scene.denials.values()].flat().filter((one) => one.door === door).reduce(
      (sum, one) => sum + one.count,
      0,
    );
  }
}
