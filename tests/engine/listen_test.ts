import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  EngineSocketError,
  listenForDriver,
  type ListeningEngineLink,
  type ListenOptions,
} from "../../engine/listen.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import { decodeToDriver, encodeToEngine } from "../../protocol/engine_codec.ts";
import type { ToDriver, ToEngine } from "../../protocol/engine_messages.ts";
import { Fault } from "../../protocol/faults.ts";
import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";
import { MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";
import {
  batchOf,
  helloOf,
  joinedOf,
  LINK_GRANTS,
  rowsOf,
  spawnBatch,
} from "../support/fake_driver.ts";

const REMOTE = 0x8000_0001;
/** Long enough for the slowest machine, short enough to end a test that hangs. */
const PATIENCE_MS = 10_000;

/** Waits until something is so. */
async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  while (!isSo()) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A driver on a real socket that reads only when asked to. */
class SocketDriver {
  readonly heard: ToDriver[] = [];
  ended = false;
  readonly #connection: Deno.UnixConn;
  readonly #frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  readonly #buffer = new Uint8Array(65_536);

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  static async connect(path: string): Promise<SocketDriver> {
    return new SocketDriver(await Deno.connect({ transport: "unix", path }));
  }

  async say(...messages: ToEngine[]): Promise<void> {
    for (const message of messages) await this.sayBytes(encodeFrame(encodeToEngine(message)));
  }

  async sayBytes(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  /** Reads until a message of this kind has come, and returns the newest. */
  async hear<K extends ToDriver["kind"]>(kind: K): Promise<Extract<ToDriver, { kind: K }>> {
    const before = this.heard.length;
    for (;;) {
      const found = this.heard.slice(before).findLast((one) => one.kind === kind);
      if (found !== undefined) return found as Extract<ToDriver, { kind: K }>;
      if (!await this.#read()) throw new Error(`the link ended before a ${kind} came`);
    }
  }

  /** Reads to the end of the link. */
  async drain(): Promise<void> {
    while (await this.#read());
  }

  async #read(): Promise<boolean> {
    const count = await this.#connection.read(this.#buffer);
    if (count === null) {
      this.ended = true;
      return false;
    }
    this.#frames.handleBytes(this.#buffer.subarray(0, count));
    for (let frame = this.#frames.pollFrame(); frame; frame = this.#frames.pollFrame()) {
      const decoded = decodeToDriver(frame);
      if (!decoded.ok) throw new Error(`the engine sent a frame with fault ${decoded.fault}`);
      this.heard.push(decoded.message);
    }
    return true;
  }

  /** Says hello and joins; the welcome and the first batch, if the engine has entities. */
  async join(peer: number, fields = {}): Promise<void> {
    await this.say(helloOf(LINK_GRANTS, "client"));
    await this.hear("welcome");
    await this.say(joinedOf(peer, fields));
  }

  close(): void {
    this.#connection.close();
  }
}

interface Bed {
  readonly folder: string;
  readonly path: string;
  readonly world: ReferenceWorld;
  readonly notes: string[];
  listen(options?: Partial<ListenOptions>): Promise<ListeningEngineLink>;
}

/** Runs a test with a socket path of its own. */
async function withBed(test: (bed: Bed) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "syncra" });
  const path = `${folder}/engine.sock`;
  const world = new ReferenceWorld();
  const notes: string[] = [];
  try {
    await test({
      folder,
      path,
      world,
      notes,
      listen: (options = {}) =>
        listenForDriver({
          socket: path,
          manifest: { grants: LINK_GRANTS, role: "client" },
          world,
          log: (sentence) => notes.push(sentence),
          ...options,
        }),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("listenForDriver() carries a driver's whole life: welcome, batches, changes, goodbye", () =>
  withBed(async (bed) => {
    const link = await bed.listen({ flushIntervalMs: 5 });
    const own = link.spawn({ Name: { text: "Ann" } });
    const driver = await SocketDriver.connect(bed.path);
    await driver.join(5);
    assertEquals([...(await driver.hear("batch")).spawns], [own]);
    const changes: unknown[] = [];
    link.onRemoteChange = (handle, name, values) => changes.push([handle, name, values]);
    await driver.say(
      spawnBatch(LINK_GRANTS, REMOTE, 70, 6, { Name: { text: "Eve" } }),
      { kind: "ping", time: 4 },
    );
    assertEquals((await driver.hear("pong")).time, 4);
    assertEquals(changes, [[REMOTE, "Name", { text: "Eve" }]]);
    link.set(own, "Name", { text: "Bob" });
    assertStringIncludes(
      new TextDecoder().decode((await driver.hear("batch")).components[0]!.rows),
      "Bob",
    );
    await driver.hear("ping");
    const draining = driver.drain();
    await link.close("done");
    await draining;
    assertEquals(driver.heard.at(-1), { kind: "goodbye", code: 0, reason: "done" });
    driver.close();
    await assertRejects(() => Deno.lstat(bed.path), Deno.errors.NotFound);
    assertEquals(bed.notes, []);
  }));

Deno.test("listenForDriver() takes a manifest's path and compares with what that compiles to", () =>
  withBed(async (bed) => {
    const manifest = new URL("../../examples/room_client.jsonc", import.meta.url).pathname;
    await using link = await bed.listen({ manifest });
    const handle = link.spawn({ Name: { text: "Ann" } });
    assertEquals(link.get(handle, "Name"), { text: "Ann" });
    const refusals: string[] = [];
    link.onDriverRefused = (reason) => refusals.push(reason);
    const driver = await SocketDriver.connect(bed.path);
    await driver.say(helloOf(LINK_GRANTS, "client"));
    await driver.drain();
    assertStringIncludes(refusals[0]!, 'give both the same "world" part');
    driver.close();
    await assertRejects(() => bed.listen({ manifest: `${bed.folder}/none.jsonc` }));
  }));

Deno.test("listenForDriver() removes a socket file that a crash left behind", () =>
  withBed(async (bed) => {
    const crash = new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        "--no-config",
        `Deno.listen({ transport: "unix", path: ${JSON.stringify(bed.path)} }); Deno.exit(0);`,
      ],
    });
    const { success } = await crash.output();
    assert(success);
    assert((await Deno.lstat(bed.path)).isSocket);
    await using link = await bed.listen();
    const driver = await SocketDriver.connect(bed.path);
    await driver.join(5);
    await until("joined", () => link.isJoined);
    driver.close();
  }));

Deno.test("listenForDriver() leaves a living engine's socket alone, and says that it is taken", () =>
  withBed(async (bed) => {
    await using first = await bed.listen();
    await assertRejects(
      () => bed.listen(),
      EngineSocketError,
      "is taken: a living process listens",
    );
    const driver = await SocketDriver.connect(bed.path);
    await driver.join(5);
    await until("joined", () => first.isJoined);
    driver.close();
  }));

Deno.test("listenForDriver() refuses a path that is no socket, and one it cannot listen on", () =>
  withBed(async (bed) => {
    await Deno.writeTextFile(bed.path, "precious");
    await assertRejects(() => bed.listen(), EngineSocketError, "is no socket");
    assertEquals(await Deno.readTextFile(bed.path), "precious");
    await assertRejects(
      () => bed.listen({ socket: `${bed.folder}/missing/engine.sock` }),
      EngineSocketError,
      "cannot listen",
    );
    await assertRejects(
      () => bed.listen({ socket: `${bed.folder}/${"x".repeat(120)}` }),
      EngineSocketError,
      "107 bytes",
    );
  }));

Deno.test("listenForDriver() advises when others can reach the socket's folder", () =>
  withBed(async (bed) => {
    await Deno.chmod(bed.folder, 0o755);
    await using _link = await bed.listen();
    assertEquals(bed.notes.length, 1);
    assertStringIncludes(bed.notes[0]!, "Use a folder of mode 700");
  }));

Deno.test("a second driver is told why and closed, and the first goes on", () =>
  withBed(async (bed) => {
    await using link = await bed.listen();
    const first = await SocketDriver.connect(bed.path);
    await first.join(5);
    await until("joined", () => link.isJoined);
    const second = await SocketDriver.connect(bed.path);
    await second.drain();
    assertEquals(second.heard.length, 1);
    assertStringIncludes(JSON.stringify(second.heard[0]), "has a driver already");
    second.close();
    await first.say({ kind: "ping", time: 1 });
    assertEquals((await first.hear("pong")).time, 1);
    assertEquals(link.stats.driversRefused, 1);
    first.close();
  }));

Deno.test("garbage and a wrong version end in a goodbye that says why; the next driver is served", () =>
  withBed(async (bed) => {
    await using link = await bed.listen();
    const refusals: string[] = [];
    link.onDriverRefused = (reason) => refusals.push(reason);
    const garbage = await SocketDriver.connect(bed.path);
    await garbage.sayBytes(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    await garbage.drain();
    assertEquals(garbage.heard, [{
      kind: "goodbye",
      code: Fault.OutOfRange,
      reason: "OutOfRange in a frame from the driver",
    }]);
    garbage.close();
    await until("the place is free", () => !link.wantsClose);

    const old = await SocketDriver.connect(bed.path);
    await old.say({ ...helloOf(LINK_GRANTS, "client"), linkVersion: 99 });
    await old.drain();
    assertStringIncludes(JSON.stringify(old.heard), "engine link version 99 of the driver");
    assertEquals(refusals.length, 1);
    old.close();
    await until("the place is free", () => !link.wantsClose);

    const good = await SocketDriver.connect(bed.path);
    await good.join(5);
    await until("joined", () => link.isJoined);
    good.close();
  }));

Deno.test("a lost driver costs nothing: the world goes on, and the next one gets table, ticket and resync", () =>
  withBed(async (bed) => {
    await using link = await bed.listen();
    const events: string[] = [];
    link.onDriverLost = () => events.push("lost");
    link.onDriverBack = () => events.push("back");
    const own = link.spawn({ Name: { text: "Ann" } });
    const first = await SocketDriver.connect(bed.path);
    await first.join(5);
    await first.hear("batch");
    await first.say(
      { kind: "named", pairs: Uint32Array.of(own, 1_001) },
      spawnBatch(LINK_GRANTS, REMOTE, 70, 6, { Name: { text: "Eve" } }),
    );
    await until("spawned", () => bed.world.has(REMOTE));
    first.close();
    await until("lost", () => events.length === 1);
    link.set(own, "Name", { text: "Bob" });
    link.flush();

    const second = await SocketDriver.connect(bed.path);
    await second.say(helloOf(LINK_GRANTS, "client"));
    const welcome = await second.hear("welcome");
    assertEquals([...welcome.entities], [own, 1_001, REMOTE, 70]);
    assertEquals([...welcome.resume], [1, 2, 5]);
    await second.say(joinedOf(5, { resumed: true }));
    const batch = await second.hear("batch");
    assertEquals([...batch.spawns], [own]);
    assertStringIncludes(new TextDecoder().decode(batch.components[0]!.rows), "Bob");
    await second.say(spawnBatch(LINK_GRANTS, REMOTE, 70, 6, { Name: { text: "Eve 2" } }));
    await until("confirmed", () => link.get(REMOTE, "Name")!["text"] === "Eve 2");
    assertEquals(events, ["lost", "back"]);
    second.close();
  }));

Deno.test("a driver that does not read holds nobody up: state is conflated, and the newest arrives when it reads", () =>
  withBed(async (bed) => {
    await using link = await bed.listen({ manifest: { grants: LINK_GRANTS, role: "server" } });
    const driver = await SocketDriver.connect(bed.path);
    await driver.say(helloOf(LINK_GRANTS, "server"));
    await driver.hear("welcome");
    await driver.say(joinedOf(0));
    await until("joined", () => link.isJoined);
    const handle = link.spawn({ Blob: { data: new Uint8Array(1) } });
    const rounds = 300;
    for (let round = 1; round <= rounds; round++) {
      link.set(handle, "Blob", { data: new Uint8Array(60_000).fill(round % 251) });
      link.flush();
      if (round % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert(link.stats.flushesHeldBack > 0);
    assert(link.stats.backlogBytes < 3 * 1024 * 1024, `${link.stats.backlogBytes}`);
    let newest: Uint8Array | undefined;
    while (newest?.at(-1) !== rounds % 251) {
      link.flush();
      newest = (await driver.hear("batch")).components[0]!.rows;
    }
    assert(driver.heard.filter(({ kind }) => kind === "batch").length < rounds / 2);
    driver.close();
  }));

Deno.test("a driver that hangs without reading is cut off when the link is closed", () =>
  withBed(async (bed) => {
    const link = await bed.listen({ manifest: { grants: LINK_GRANTS, role: "server" } });
    const driver = await SocketDriver.connect(bed.path);
    await driver.say(helloOf(LINK_GRANTS, "server"));
    await driver.hear("welcome");
    await driver.say(joinedOf(0));
    await until("joined", () => link.isJoined);
    for (let i = 0; i < 60; i++) link.spawn({ Blob: { data: new Uint8Array(65_536) } });
    link.flush();
    await link.close();
    driver.close();
  }));

Deno.test("a callback that throws is reported, and the link goes on", () =>
  withBed(async (bed) => {
    await using link = await bed.listen();
    const driver = await SocketDriver.connect(bed.path);
    await driver.join(5);
    link.onSpawn = () => {
      throw new Error("a mistake of the game");
    };
    await driver.say(spawnBatch(LINK_GRANTS, REMOTE, 70, 6, { Name: {} }));
    await until("reported", () => bed.notes.length === 1);
    assertStringIncludes(bed.notes[0]!, "a mistake of the game");
    const name = LINK_GRANTS.components.find((one) => one.name === "Name")!;
    await driver.say(batchOf({ components: [rowsOf(name, [[REMOTE, { text: "on" }]])] }));
    await until("changed", () => link.get(REMOTE, "Name")!["text"] === "on");
    driver.close();
  }));
