// The README's commands, run as written but for where they write and which port they take: what it promises must happen.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseArguments } from "../../driver/arguments.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { COMMANDS } from "../../driver/help.ts";
import { ROOT, runProgram, withFolder } from "../support/run_program.ts";

const README = await Deno.readTextFile(`${ROOT}README.md`);

/** Command lines in the README's shell blocks, without their comments. */
const LINES = [...README.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap((block) =>
  block[1]!.split("\n")
).map((line) => line.replace(/\s+#.*$/, "").trim()).filter((line) => line !== "");

/** Words after `mod.ts` of the lines that run the program. */
const PROGRAM_LINES = LINES.filter((line) => line.startsWith("deno run -A mod.ts "))
  .map((line) => line.slice("deno run -A mod.ts ".length).split(" "));

Deno.test("the README's shell lines are commands of this project, when they are read", async () => {
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)) as {
    tasks: Record<string, unknown>;
  };
  assert(LINES.length >= 10);
  for (const line of LINES) {
    const task = /^npx --yes deno@2\.9\.6 task (\w+)$/.exec(line)?.[1];
    const script = /^deno run -A (examples\/\w+\.ts)/.exec(line)?.[1];
    if (task !== undefined) assert(task in config.tasks, line);
    else if (script !== undefined) assert((await Deno.stat(ROOT + script)).isFile, line);
    else assertMatch(line, /^deno run -A mod\.ts /);
  }
  for (const words of PROGRAM_LINES) {
    const parsed = parseArguments(words, COMMANDS);
    assert(parsed.ok, words.join(" "));
  }
});

Deno.test("the README's short commands do what it says, when they are run", async () => {
  await withFolder(async (folder) => {
    const codes: Record<string, number> = {};
    for (const words of PROGRAM_LINES) {
      if (words[0] === "launch") continue;
      const outcome = await runProgram(
        ...words.map((word) => word === "certs" ? `${folder}/certs` : word),
      );
      codes[words[0]!] = outcome.code;
    }
    assertEquals(codes, {
      check: ExitCode.Ok,
      flags: ExitCode.Ok,
      run: ExitCode.ExcessRights,
      cert: ExitCode.Ok,
      grants: ExitCode.Ok,
    });
  });
});

/** A process of the tour, and everything it has printed. */
class Player {
  readonly #process: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  said = "";

  constructor(args: readonly string[]) {
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", `--config=${ROOT}deno.json`, ...args],
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const read = async (stream: ReadableStream<Uint8Array>) => {
      for await (const chunk of stream) this.said += new TextDecoder().decode(chunk);
    };
    this.#reading = Promise.all([read(this.#process.stdout), read(this.#process.stderr)])
      .then(() => {});
  }

  /** Waits until the process has said something, for at most ten seconds. */
  async hears(pattern: RegExp): Promise<RegExpExecArray> {
    for (let i = 0; i < 200; i++) {
      const found = pattern.exec(this.said);
      if (found !== null) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${pattern} was not said within 10 s. What was said:\n${this.said}`);
  }

  /** Ends it and returns its exit code. */
  async end(signal: Deno.Signal): Promise<number> {
    try {
      this.#process.kill(signal);
    } catch {
      // It has ended by itself; its code tells.
    }
    const { code } = await this.#process.status;
    await this.#reading;
    return code;
  }
}

/** Kills the driver process of a manifest as a crash would: not its launcher, which has the manifest in its arguments too. */
function crashDriver(manifest: string): void {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    let words: string[];
    try {
      words = Deno.readTextFileSync(`/proc/${name}/cmdline`).split("\0");
    } catch {
      continue; // it has ended meanwhile
    }
    if (words.includes(manifest) && words.includes("run") && words.includes("--cached-only")) {
      Deno.kill(Number(name), "SIGKILL");
    }
  }
}

/** The room's files and scripts in a folder of their own, on a port that is free. */
async function copyTour(folder: string): Promise<void> {
  const probe = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr as Deno.NetAddr;
  probe.close();
  for (
    const name of ["room_server.jsonc", "room_client.jsonc", "hello_server.ts", "hello_client.ts"]
  ) {
    const text = await Deno.readTextFile(`${ROOT}examples/${name}`);
    await Deno.writeTextFile(
      `${folder}/${name}`,
      text.replaceAll("127.0.0.1:4433", `127.0.0.1:${port}`)
        .replaceAll('"../mod.ts"', JSON.stringify(`file://${ROOT}mod.ts`)),
    );
  }
}

Deno.test("the README's tour plays, and a client's driver comes back, when its steps are followed", async () => {
  await withFolder(async (folder) => {
    await copyTour(folder);
    const players: Player[] = [];
    const play = (...args: string[]) => {
      const player = new Player(args);
      players.push(player);
      return player;
    };
    const launch = (side: string) =>
      play(`${ROOT}mod.ts`, "launch", "--manifest", `${folder}/room_${side}.jsonc`);
    try {
      const server = play(`${folder}/hello_server.ts`);
      await server.hears(/Waiting for a driver/);
      const serverDriver = launch("server");
      const pin = (await server.hears(/^[0-9a-f]{64}$/m))[0];
      await server.hears(/It listens on 127\.0\.0\.1:/);
      const client = play(`${folder}/hello_client.ts`, pin);
      await client.hears(/Waiting for a driver/);
      const clientDriver = launch("client");
      await client.hears(/Joined as peer 1, role player/);
      await client.hears(/Prop: \{"position":\[/);
      await client.hears(/Announce: \{"text":"Welcome, peer 1!"\}/);
      await server.hears(/Peer 1 joined as player/);

      crashDriver(`${folder}/room_client.jsonc`);
      await clientDriver.end("SIGTERM");
      await client.hears(/The driver is lost/);
      client.said = "";
      const secondDriver = launch("client");
      await client.hears(/Resumed as peer 1, role player/);
      await client.hears(/Prop: \{"position":\[/);

      assertEquals(await secondDriver.end("SIGTERM"), ExitCode.Ok, secondDriver.said);
      assertEquals(await serverDriver.end("SIGTERM"), ExitCode.Ok, serverDriver.said);
      await server.hears(/The driver is lost/);
      assertEquals(await client.end("SIGINT"), 0);
      assertEquals(await server.end("SIGINT"), 0);
      assertStringIncludes(server.said, "the world goes on");
    } finally {
      for (const player of players) await player.end("SIGKILL");
    }
  });
});
