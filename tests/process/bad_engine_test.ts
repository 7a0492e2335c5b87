// An engine that is not there, not free, or not the right one; a port that is taken; an order that the manifest does not allow. The driver
// ends with the documented code and one paragraph, and an engine that it does not belong to goes on.

import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { compileGrants } from "../../permissions/compile.ts";
import type { Grants } from "../../permissions/grants.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { EngineSocketError } from "../../engine/mod.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { assertEnds } from "../support/bad_start.ts";
import { FakeEngine, welcomeOf } from "../support/fake_engine.ts";
import { sha256 } from "../support/manifest_samples.ts";
import { PATIENCE_MS, ProcessStage } from "../support/process_stage.ts";
import { ROOT } from "../support/run_program.ts";

function grantsOf(manifestFile: string): Grants {
  return compileGrants(parseManifest(Deno.readTextFileSync(manifestFile), manifestFile), sha256);
}

const PIN = "ab".repeat(32);

Deno.test("the driver ends with code 5 and names the socket, when no engine has ever listened", () =>
  ProcessStage.play(async (stage) => {
    const socket = `${stage.folder}/server.sock`;
    const file = stage.manifest("server", "server");
    await assertEnds(stage.launch(file), ExitCode.EngineSocket, socket, "Start the engine first");
    Deno.writeTextFileSync(socket, "no socket");
    await assertEnds(stage.launch(file), ExitCode.EngineSocket, socket, "Start the engine first");
  }));

Deno.test("the driver ends with code 5 at a dead engine's socket, and the next engine takes it over", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server");
    const socket = `${stage.folder}/server.sock`;
    const crash = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--quiet",
        `--config=${ROOT}deno.json`,
        `${ROOT}tests/support/dying_engine.ts`,
        socket,
        file,
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const said = await crash.stdout.getReader();
    await said.read();
    crash.kill("SIGKILL");
    while (!(await said.read()).done);
    await crash.status;
    assert(Deno.lstatSync(socket).isSocket);

    await assertEnds(stage.launch(file), ExitCode.EngineSocket, socket, "refused");
    const server = await stage.engine("server", file);
    stage.drive(server);
    await stage.until("the next engine's driver listens", () => server.joins.length > 0);
  }));

Deno.test("`listenForDriver()` refuses a socket that another living engine has, and that engine keeps its driver", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    await assertRejects(
      () => stage.engine("server", server.manifestFile),
      EngineSocketError,
      "is taken: a living process listens on it",
    );
    await stage.until("the driver still talks", () => server.stats.tick !== undefined);
    assertEquals([server.lost, server.driver!.exitCode], [[], undefined]);
  }));

Deno.test("a second driver ends with code 6 and is told why, and the first one goes on", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    await assertEnds(
      stage.launch(server.manifestFile),
      ExitCode.EngineRefused,
      "The engine refused this driver: the engine has a driver already",
    );
    assertEquals(server.refused, ["a second driver connected while one was there"]);
    assertEquals([server.lost, server.driver!.exitCode], [[], undefined]);
    await stage.client("ann", server.pin);
  }));

Deno.test("the driver ends with code 8, and its engine hears why, when another program has its UDP port", () =>
  ProcessStage.play(async (stage) => {
    await using holder = await holdUdpPort(stage.port);
    const server = await stage.engine("server", stage.manifest("server", "server"));
    const wanted = `UDP port 127.0.0.1:${holder.port} is in use`;
    await assertEnds(stage.drive(server), ExitCode.Network, wanted);
    assertStringIncludes(server.lost[0]!, wanted);
    assertEquals(server.joins, []);
  }));

Deno.test("the driver ends with code 8 and says what to write, when the address is not of this machine", () =>
  ProcessStage.play(async (stage) => {
    // An address for documentation alone (RFC 5737).
    const listen = `198.51.100.7:${stage.port}`;
    const file = stage.manifest("server", "server", (value) => value.host.listen = listen);
    const server = await stage.engine("server", file);
    const wanted = "198.51.100.7 is not an address of this machine: listen on one that is";
    await assertEnds(stage.drive(server), ExitCode.Network, wanted);
    assertStringIncludes(server.lost[0]!, wanted);
  }));

Deno.test("the driver ends with code 6, when its engine's manifest has another world", () =>
  ProcessStage.play(async (stage) => {
    const other = stage.manifest("other", "server", (value) => value.world.tickHz = 20);
    const file = stage.manifest("server", "server");
    const server = await stage.engine("server", other, { socket: `${stage.folder}/server.sock` });
    await assertEnds(
      stage.launch(file),
      ExitCode.EngineRefused,
      "The engine refused this driver: schema",
      'give both the same "world" part',
    );
    assertStringIncludes(server.refused[0]!, 'give both the same "world" part');
    assertEquals(server.lost, []);
    // The place is free for the right one.
    const right = stage.manifest("right", "server", (value) => {
      value.world.tickHz = 20;
      value.host.engineSocket = "server.sock";
    });
    stage.launch(right);
    await stage.until("a driver that fits listens", () => server.joins.length > 0);
  }));

Deno.test("the driver ends with code 6, when its engine expects another role", () =>
  ProcessStage.play(async (stage) => {
    const client = stage.manifest("ann", "client");
    await stage.engine("server", stage.manifest("server", "server"), {
      socket: `${stage.folder}/ann.sock`,
    });
    await assertEnds(stage.launch(client), ExitCode.EngineRefused, "role", '"client"', '"server"');
  }));

Deno.test("the driver ends with code 6 and names both, when a welcome has another version or schema", () =>
  ProcessStage.play(async (stage) => {
    for (const role of ["server", "client"] as const) {
      const file = stage.manifest(role, role);
      const grants = grantsOf(file);
      const cases: readonly (readonly [Parameters<typeof welcomeOf>[1], readonly string[]])[] = [
        [{ linkVersion: 7 }, ["version 7", "this driver 1", "matching SDK"]],
        [{ schemaHash: "0".repeat(64) }, ["0".repeat(16), grants.schemaHash.slice(0, 16)]],
      ];
      for (const [fields, parts] of cases) {
        await FakeEngine.listen(`${stage.folder}/${role}.sock`, async (engine) => {
          const driver = stage.launch(file);
          await engine.hear("hello");
          await engine.say(welcomeOf(grants, fields));
          await assertEnds(driver, ExitCode.EngineRefused, ...parts);
        });
      }
    }
  }));

Deno.test("a client's driver ends with code 6, when its engine orders what the manifest does not allow", () =>
  ProcessStage.play(async (stage) => {
    const order = (url: string, pin: string) => ({ url, pin, credential: new Uint8Array(0) });
    const here = `quic://127.0.0.1:${stage.port}`;
    const elsewhere = `quic://127.0.0.1:${stage.port + 1}`;
    const cases: readonly (readonly [
      string | undefined,
      ReturnType<typeof order>,
      readonly string[],
    ])[] = [
      [undefined, order(elsewhere, PIN), [elsewhere, "host.connect", `127.0.0.1:${stage.port}`]],
      [undefined, order("quic://example.com:443", PIN), ["quic://example.com:443"]],
      [undefined, order(here, ""), ["host.pin", "host.caFile"]],
      ["cd".repeat(32), order(here, PIN), ["differs from host.pin"]],
    ];
    for (const [hostPin, connect, parts] of cases) {
      const file = stage.manifest("ann", "client", (value) => {
        if (hostPin !== undefined) value.host.pin = hostPin;
      });
      await FakeEngine.listen(`${stage.folder}/ann.sock`, async (engine) => {
        const driver = stage.launch(file);
        await engine.hear("hello");
        await engine.say(welcomeOf(grantsOf(file), { connect }));
        await assertEnds(driver, ExitCode.EngineRefused, ...parts);
      });
    }
  }));

Deno.test("the driver ends with code 6, when what answers on the engine's socket speaks something else", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server");
    const garbage: readonly Uint8Array[] = [
      new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"),
      // A frame of four bytes that are no MessagePack, and one whose value is no message.
      Uint8Array.of(4, 0, 0, 0, 0xc1, 0xc1, 0xc1, 0xc1),
      Uint8Array.of(2, 0, 0, 0, 0x91, 0x7f),
      Uint8Array.of(0, 0, 0, 0),
    ];
    for (const bytes of garbage) {
      await FakeEngine.listen(`${stage.folder}/server.sock`, async (engine) => {
        const driver = stage.launch(file);
        await engine.hear("hello");
        await engine.sayBytes(bytes);
        await assertEnds(driver, ExitCode.EngineRefused, "no frame of the engine link");
        await engine.drain();
      });
    }
    await FakeEngine.listen(`${stage.folder}/server.sock`, async (engine) => {
      const driver = stage.launch(file);
      await engine.hear("hello");
      await engine.say({ kind: "ping", time: 1 });
      await assertEnds(driver, ExitCode.EngineRefused, '"ping" before its welcome');
    });
  }));

Deno.test("the driver ends with code 6, and its peers hear goodbye, when a welcome engine turns to garbage", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server");
    await FakeEngine.listen(`${stage.folder}/server.sock`, async (engine) => {
      const driver = stage.launch(file);
      const { certificateHash } = await engine.hear("hello");
      await engine.say(welcomeOf(grantsOf(file)));
      await engine.hear("joined");
      const ann = await stage.client("ann", certificateHash);
      await engine.hear("peerJoin");
      const ending = engine.drain();
      await engine.sayBytes(Uint8Array.of(3, 0, 0, 0, 0x93, 0x7f, 0xc1));
      await assertEnds(driver, ExitCode.EngineRefused, "no frame of the engine link");
      await ending;
      assertEquals(engine.heard.at(-1)?.kind, "goodbye");
      await stage.until("ann hears of it", () => ann.lefts.length > 0);
      assertEquals([ann.lefts[0]!.code, ann.lefts[0]!.final], [CloseCode.GoingAway, false]);
      assertEquals(ann.driver!.exitCode, undefined);
    });
  }));

Deno.test("the driver ends with code 7, when its engine is gone without a word, and with code 0, when it says goodbye", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server");
    let driver!: ReturnType<ProcessStage["launch"]>;
    await FakeEngine.listen(`${stage.folder}/server.sock`, async (engine) => {
      driver = stage.launch(file);
      await engine.hear("hello");
      await engine.say(welcomeOf(grantsOf(file)));
      await engine.hear("joined");
    });
    await assertEnds(driver, ExitCode.EngineEnded, "engine's end of the link is gone");

    const server = await stage.server();
    await server.link.close();
    assertEquals(await within(server.driver!.ended), 0);
    assertEquals(server.driver!.err, "");
  }));

Deno.test("the driver ends with code 5 or 7 and says so, when its engine hangs before or after the welcome", () =>
  ProcessStage.play(async (stage) => {
    const file = stage.manifest("server", "server");
    const silent = stage.manifest("silent", "server");
    const unanswered = FakeEngine.listen(`${stage.folder}/silent.sock`, async (engine) => {
      const wanted = "did not answer within 5 s";
      // It begins a frame and never ends it: bytes alone are no answer.
      const driver = stage.launch(silent);
      await engine.sayBytes(Uint8Array.of(255, 0, 0, 0));
      const dribble = setInterval(() => engine.sayBytes(Uint8Array.of(1)), 300);
      try {
        await assertEnds(driver, ExitCode.EngineSocket, wanted);
      } finally {
        clearInterval(dribble);
      }
    });
    await FakeEngine.listen(`${stage.folder}/server.sock`, async (engine) => {
      const driver = stage.launch(file);
      await engine.hear("hello");
      await engine.say(welcomeOf(grantsOf(file)));
      const reading = engine.drain();
      await assertEnds(driver, ExitCode.EngineEnded, "heartbeats");
      await reading;
      assertNotEquals(engine.heard.filter(({ kind }) => kind === "ping").length, 0);
    });
    await unanswered;
  }));

/** A promise that does not take for ever. */
async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("waited in vain")), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Has a UDP port until disposed of. */
async function holdUdpPort(port: number): Promise<AsyncDisposable & { readonly port: number }> {
  const { createSocket } = await import("node:dgram");
  const socket = createSocket("udp4");
  const bound = Promise.withResolvers<void>();
  socket.once("error", bound.reject);
  socket.bind(port, "127.0.0.1", () => bound.resolve());
  await bound.promise;
  return {
    port,
    [Symbol.asyncDispose]: () => new Promise<void>((done) => socket.close(() => done())),
  };
}
