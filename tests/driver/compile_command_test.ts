// The sealed executable: what is baked in, that the compiler takes it as far as this machine lets it, and that the program inside keeps to
// its seal. Without a base executable the program inside runs under the very flags that would be baked.

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { main } from "../../driver/cli.ts";
import {
  compile,
  COMPILE_TARGETS,
  type CompilePlan,
  planCompile,
} from "../../driver/compile_command.ts";
import { CommandError, ExitCode } from "../../driver/exit_codes.ts";
import { runSealed, sealHash, sealText } from "../../driver/sealed.ts";
import { listenForDriver } from "../../engine/listen.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import { type Outcome, ROOT, runCommand, withFolder } from "../support/run_program.ts";

/** Writes a manifest whose driver may be pointed to a second socket. */
async function planIn(folder: string): Promise<CompilePlan> {
  const probe = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr as Deno.NetAddr;
  probe.close();
  const text = (await Deno.readTextFile(`${ROOT}examples/room_server.jsonc`))
    .replace("127.0.0.1:4433", `127.0.0.1:${port}`)
    .replace('"room_server.sock",', '"a.sock", "overridable": { "engineSocket": ["b.sock"] },');
  await Deno.writeTextFile(`${folder}/m.jsonc`, text);
  return planCompile({
    manifest: `${folder}/m.jsonc`,
    output: `${folder}/driver`,
    target: "",
    version: "1.2.3",
  });
}

/** The program inside, under the flags of the seal, in an environment that holds what finds the module cache. */
function asIfSealed(folder: string, plan: CompilePlan): (...args: string[]) => Deno.Command {
  Deno.writeTextFileSync(`${folder}/main.ts`, plan.entry);
  const env: Record<string, string> = { NO_COLOR: "1" };
  for (const name of ["HOME", "DENO_DIR"]) {
    const value = Deno.env.get(name);
    if (value !== undefined) env[name] = value;
  }
  return (...args) =>
    new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--cached-only",
        "--frozen",
        `--config=${ROOT}deno.json`,
        ...plan.seal.flags,
        `${folder}/main.ts`,
        ...args,
      ],
      env,
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
}

async function outcomeOf(command: Deno.Command): Promise<Outcome> {
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** What every sealed program must do, however it is started. */
async function judge(
  folder: string,
  plan: CompilePlan,
  command: (...args: string[]) => Deno.Command,
): Promise<void> {
  const shown = await outcomeOf(command("--show-manifest"));
  assertEquals(shown.code, ExitCode.Ok, shown.err);
  assertEquals(shown.out, `${sealText(plan.seal)}\n`);

  // Words of the runtime are only words, and paths that are not listed are refused.
  for (const words of [["--allow-read"], ["-A"], ["--insecure-dev"], ["--manifest", "/x"]]) {
    assertEquals((await outcomeOf(command(...words))).code, ExitCode.Usage, words.join(" "));
  }
  const foreign = await outcomeOf(command("--engine-socket", `${folder}/c.sock`));
  assertEquals(foreign.code, ExitCode.Manifest, foreign.err);
  assertStringIncludes(foreign.err, "does not list");

  const lonely = await outcomeOf(command());
  assertEquals(lonely.code, ExitCode.EngineSocket, lonely.err);
  assertStringIncludes(lonely.err, `${folder}/a.sock`);

  const joined = Promise.withResolvers<boolean>();
  const engine = await listenForDriver({
    socket: `${folder}/b.sock`,
    manifest: `${folder}/m.jsonc`,
    world: new ReferenceWorld(),
    callbacks: { onJoined: () => joined.resolve(true) },
    log: () => {},
  });
  const running = outcomeOf(command("--engine-socket", "b.sock"));
  running.then(() => joined.resolve(false));
  const served = await joined.promise;
  await engine.close();
  const ended = await running;
  assert(served, ended.err);
  assertEquals(ended.code, ExitCode.Ok, ended.err);
}

Deno.test("`planCompile()` seals the manifest to the letter, and rights without a wildcard", async () => {
  await withFolder(async (folder) => {
    const plan = await planIn(folder);
    assertEquals(plan.seal.text, await Deno.readTextFile(`${folder}/m.jsonc`));
    assertEquals(plan.seal.file, `${folder}/m.jsonc`);
    assertStringIncludes(plan.entry, JSON.stringify(plan.seal));
    for (const flag of plan.seal.flags) {
      assert(plan.args.includes(flag), flag);
      assertMatch(flag, /^(--no-prompt|--deny-import|--allow-(read|write|net)=\/?[^*]+)$/);
    }
    const allowed = plan.args.filter((one) => /^(-A|--allow|-[RWNESI])/.test(one));
    assertEquals(allowed, plan.seal.flags.filter((one) => one.startsWith("--allow")));
    assert(!plan.seal.flags.some((one) => one.includes("m.jsonc")), "the manifest lies inside");
  });
});

Deno.test("`sealHash()` changes, when anything that is sealed does", async () => {
  await withFolder(async (folder) => {
    const { seal } = await planIn(folder);
    const changed = [
      { ...seal, text: `${seal.text} ` },
      { ...seal, version: "1.2.4" },
      { ...seal, file: "/elsewhere.jsonc" },
      { ...seal, flags: [...seal.flags, "--allow-env"] },
    ];
    const hashes = new Set([seal, ...changed].map(sealHash));
    assertEquals(hashes.size, 5);
    assertMatch(sealHash(seal), /^[0-9a-f]{64}$/);
  });
});

Deno.test("`runSealed()` refuses to run, when the sealed rights are not those of the manifest", async () => {
  await withFolder(async (folder) => {
    const { seal } = await planIn(folder);
    let err = "";
    const code = await runSealed({ ...seal, flags: [...seal.flags, "--allow-env"] }, [], {
      out: () => {},
      err: (text) => err += text,
    });
    assertEquals(code, ExitCode.Manifest);
    assertStringIncludes(err, "compile it again");
  });
});

Deno.test("the sealed main module reaches the driver and no workshop, when its graph is resolved", async () => {
  await withFolder(async (folder) => {
    const plan = await planIn(folder);
    await Deno.writeTextFile(`${folder}/main.ts`, plan.entry);
    const { code, out, err } = await runCommand(Deno.execPath(), [
      "info",
      "--json",
      `--config=${ROOT}deno.json`,
      `${folder}/main.ts`,
    ]);
    assertEquals(code, 0, err);
    const { modules } = JSON.parse(out) as { modules: { specifier: string; error?: string }[] };
    assertEquals(modules.filter((one) => one.error !== undefined), []);
    const ours = modules.map((one) => one.specifier)
      .filter((one) => one.startsWith(`file://${ROOT}`))
      .map((one) => one.slice(`file://${ROOT}`.length));
    assert(ours.includes("driver/run.ts"));
    assertEquals(ours.filter((one) => /^(tests|bench|examples|tools)\//.test(one)), []);
    const outside = modules.map((one) => one.specifier).filter((one) => /^https?:/.test(one));
    assertEquals(outside, []);
  });
});

Deno.test("the program inside keeps to its seal, when it runs under the sealed flags", async () => {
  await withFolder(async (made) => {
    const folder = await Deno.realPath(made);
    const plan = await planIn(folder);
    await judge(folder, plan, asIfSealed(folder, plan));
  });
});

Deno.test("`compile()` makes an executable that keeps to its seal, or lacks nothing but the base executable", async (t) => {
  await withFolder(async (made) => {
    const folder = await Deno.realPath(made);
    const plan = await planIn(folder);
    const result = await compile(plan);
    assert(result.ok || result.lacksBase, result.said);
    assert(!result.said.includes("Check "), "the project has been type-checked before");
    const name = "the finished executable keeps to its seal";
    if (!result.ok) {
      await t.step({
        name:
          `${name} (skipped: DENORT_BIN names no base executable and none can be downloaded here)`,
        ignore: true,
        fn: () => {},
      });
      return;
    }
    await t.step(name, () =>
      judge(folder, plan, (...args) =>
        new Deno.Command(plan.output, {
          args,
          clearEnv: true,
          stdin: "null",
          stdout: "piped",
          stderr: "piped",
        })));
  });
});

Deno.test("`compile` says what to change, when target or manifest cannot be used", async () => {
  let err = "";
  const terminal = { out: () => {}, err: (text: string) => void (err += text) };
  const manifest = `${ROOT}examples/room_server.jsonc`;
  assertEquals(
    await main(["compile", "--manifest", manifest, "--target", "pdp-11"], terminal),
    ExitCode.Usage,
  );
  for (const target of COMPILE_TARGETS) assertStringIncludes(err, target);
  err = "";
  assertEquals(
    await main(["compile", "--manifest", "/nowhere/m.jsonc"], terminal),
    ExitCode.Manifest,
  );
  assertStringIncludes(err, "no such file");
  assertThrows(
    () => planCompile({ manifest, output: "x", target: "wasm", version: "1" }),
    CommandError,
  );
});

Deno.test("`planCompile()` names the target, when one is asked for", () => {
  const manifest = `${ROOT}examples/room_server.jsonc`;
  for (const target of COMPILE_TARGETS) {
    const plan = planCompile({ manifest, output: "/x/driver", target, version: "1" });
    assert(plan.args.includes(`--target=${target}`));
    assert(plan.args.includes("--output=/x/driver"));
  }
});
