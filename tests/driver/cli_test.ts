// The commands, as processes: what they print, what they exit with, and that a mistake of the operator is one clear paragraph and
// never a stack trace.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { main, VERSION } from "../../driver/cli.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { COMMANDS } from "../../driver/help.ts";
import { type Outcome, ROOT, runCommand, runProgram, withFolder } from "../support/run_program.ts";

const SERVER = "examples/room_server.jsonc";
const CLIENT = "examples/room_client.jsonc";

/** Asserts a failure that an operator can read. */
function assertPlainFailure(outcome: Outcome, code: number, ...parts: string[]): void {
  assertEquals(outcome.code, code, outcome.err);
  assertEquals(outcome.out, "");
  assertMatch(outcome.err, /^syncra: /);
  assert(!/\n\s+at .*:\d+:\d+/.test(outcome.err), `a stack trace was printed:\n${outcome.err}`);
  for (const part of parts) assertStringIncludes(outcome.err, part);
}

/** Runs a command inside this process. */
async function runHere(...args: string[]): Promise<Outcome> {
  let out = "";
  let err = "";
  const code = await main(args, { out: (t) => out += `${t}\n`, err: (t) => err += `${t}\n` });
  return { code, out, err };
}

/** The server's example with `edit` applied to its text, written into `folder`. */
async function editedManifest(folder: string, edit: (text: string) => string): Promise<string> {
  const text = await Deno.readTextFile(ROOT + SERVER);
  const edited = edit(text);
  assert(edited !== text, "the edit must change something");
  const file = `${folder}/m.jsonc`;
  await Deno.writeTextFile(file, edited);
  return file;
}

Deno.test("`help` prints commands and exit codes, when the program runs without words", async () => {
  const outcome = await runProgram();
  assertEquals(outcome.code, ExitCode.Ok);
  assertStringIncludes(outcome.out, "Exit codes:");
  assertEquals(outcome.out, (await runHere("help")).out);
  assertEquals(outcome.err, "");
});

Deno.test("`--help` of each command prints its options and examples, when asked", async () => {
  for (const command of COMMANDS) {
    const outcome = await runHere(command.name, "--help");
    assertEquals(outcome.code, ExitCode.Ok);
    assertStringIncludes(outcome.out, `${command.name}: ${command.summary}`);
    assertStringIncludes(outcome.out, "Examples:");
  }
});

Deno.test("`version` prints the versions, and the program's is that of deno.json, when asked", async () => {
  const outcome = await runHere("version");
  assertStringIncludes(outcome.out, VERSION);
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)) as { version: string };
  assertEquals(config.version, VERSION);
});

Deno.test("`main()` suggests what was meant, when a command or option is misspelt", async () => {
  assertPlainFailure(await runProgram("chekc"), ExitCode.Usage, "Did you mean check?");
  assertPlainFailure(
    await runHere("check", "--manfest", "x"),
    ExitCode.Usage,
    "Did you mean --manifest?",
    "check --help",
  );
  assertPlainFailure(await runHere("launch"), ExitCode.Usage, "launch needs --manifest FILE.");
});

Deno.test("`check` sums the manifest up, when it has no mistakes", async () => {
  for (const file of [SERVER, CLIENT]) {
    const outcome = await runProgram("check", "--manifest", file);
    assertEquals(outcome.code, ExitCode.Ok, outcome.err);
    for (const name of ["Avatar", "Prop", "chat", "Wave", "player"]) {
      assertStringIncludes(outcome.out, name);
    }
  }
});

Deno.test("every command that reads a manifest says where it looked, when there is none", async () => {
  for (const command of ["check", "flags", "grants", "launch"]) {
    const outcome = await runHere(command, "--manifest", "/nowhere/m.jsonc");
    assertPlainFailure(outcome, ExitCode.Manifest, "/nowhere/m.jsonc", "no such file");
  }
  assertPlainFailure(
    await runProgram("launch", "--manifest", "nowhere.jsonc"),
    ExitCode.Manifest,
    `${ROOT}nowhere.jsonc`,
  );
  assertPlainFailure(await runHere("check", "--manifest", ROOT), ExitCode.Manifest, "folder");
});

Deno.test("`check` reports the place, when the file is not JSON", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(folder, (text) => text.replace("{", "{{"));
    assertPlainFailure(await runProgram("check", "--manifest", file), ExitCode.Manifest, "line");
  });
});

Deno.test("`check` reports all mistakes with path and advice, when there are several", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(
      folder,
      (text) => text.replace('"tickHz"', '"tickHZ"').replace('"engineSocket"', '"engineSockt"'),
    );
    assertPlainFailure(
      await runProgram("check", "--manifest", file),
      ExitCode.Manifest,
      "tickHZ",
      'did you mean "tickHz"',
      'did you mean "engineSocket"',
    );
  });
});

Deno.test("`check` reports an impossible range, when a tick rate is beyond any", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(
      folder,
      (text) => text.replace(/"tickHz": *\d+/, '"tickHz": 99999'),
    );
    assertPlainFailure(
      await runHere("check", "--manifest", file),
      ExitCode.Manifest,
      "world.tickHz",
    );
  });
});

Deno.test("`check` lists what a manifest adds over an older one and exits with a code of its own, when asked", async () => {
  await withFolder(async (folder) => {
    const wider = await editedManifest(
      folder,
      (text) =>
        text.replace('"name": "spectator" }', '"name": "spectator", "inherits": ["player"] }')
          .replace(/"engineSocket": *"[^"]*"/, '"engineSocket": "other.sock"'),
    );
    const added = await runProgram("check", "--manifest", wider, "--against", SERVER);
    assertEquals(added.code, ExitCode.Widened, added.err);
    const lines = added.out.trim().split("\n");
    assert(lines.includes("component Avatar, field head: written by spectator"), added.out);
    assert(lines.includes("host: socket other.sock"), added.out);
    assert(!lines.some((line) => line.includes("by player")), added.out);
    assertEquals(lines.at(-1), `Rights added over ${SERVER}: ${lines.length - 2}.`);

    const same = await runHere("check", "--manifest", SERVER, "--against", SERVER);
    assertEquals([same.code, same.out], [ExitCode.Ok, `No right is added over ${SERVER}.\n`]);
    const narrower = await runHere("check", "--manifest", SERVER, "--against", wider);
    assertEquals(narrower.out.split("\n")[0], "host: socket room_server.sock");
    assertPlainFailure(
      await runHere("check", "--manifest", SERVER, "--against", "/nowhere/old.jsonc"),
      ExitCode.Manifest,
      "/nowhere/old.jsonc",
    );
  });
});

Deno.test("`explain` prints which rule decides for a role, when a component or a field is named", async () => {
  const one = await runProgram(
    ...["explain", "Avatar", "head", "--role", "spectator", "--manifest", SERVER],
  );
  assertEquals(one.code, ExitCode.Ok, one.err);
  assertEquals(one.out.trim().split("\n").length, 5);
  assertStringIncludes(one.out, 'Avatar.head for "spectator"');
  assertMatch(one.out, /read, another's entity +yes +world\.components\[0\]\.read names "all"/);
  assertMatch(one.out, /write, its own entity +no, role +world\.components\[0\]\.write names only/);
  const all = await runHere("explain", "Avatar", "--role", "player", "--manifest", SERVER);
  assertEquals(all.out.split('for "player"').length - 1, 8);
});

Deno.test("`explain` suggests what was meant, when a name or the manifest is none", async () => {
  assertPlainFailure(
    await runHere("explain", "Avatr", "--role", "player", "--manifest", SERVER),
    ExitCode.Usage,
    'did you mean "Avatar"?',
  );
  assertPlainFailure(await runHere("explain", "--role", "player"), ExitCode.Usage, "COMPONENT");
  // Without --manifest it is the one in the current folder.
  assertPlainFailure(
    await runHere("explain", "Avatar", "--role", "player"),
    ExitCode.Manifest,
    "/manifest.jsonc",
  );
});

Deno.test("`grants` prints JSON with ids and hash, and both sides of a room agree, when asked", async () => {
  const [server, client] = await Promise.all([SERVER, CLIENT].map(async (file) => {
    const outcome = await runProgram("grants", "--manifest", file);
    assertEquals(outcome.code, ExitCode.Ok, outcome.err);
    return JSON.parse(outcome.out) as {
      schemaHash: string;
      components: { id: number; name: string }[];
    };
  }));
  assertMatch(server!.schemaHash, /^[0-9a-f]{64}$/);
  assertEquals(client!.schemaHash, server!.schemaHash);
  assertEquals(server!.components[0]!.name, "Avatar");
});

Deno.test("`flags` prints one line with an empty environment and no unscoped right, when asked", async () => {
  const outcome = await runProgram("flags", "--manifest", SERVER);
  assertEquals(outcome.code, ExitCode.Ok, outcome.err);
  assertMatch(outcome.out, /^env -i [^\n]+\n$/);
  for (const part of ["--no-prompt", "--cached-only", `${ROOT}mod.ts`, `${ROOT}${SERVER}`]) {
    assertStringIncludes(outcome.out, part);
  }
  assert(!/(^| )(-A|--allow-all|--allow-\w+)( |$)/.test(outcome.out), outcome.out);
  assert(!/--allow-(env|run|ffi|sys|import)/.test(outcome.out), outcome.out);
});

/** The example's server with its engine's socket at a place where nothing listens. */
function lonely(text: string): string {
  return text.replace(/"engineSocket": *"[^"]*"/, '"engineSocket": "nobody.sock"');
}

/** The same with a certificate from files. */
function certified(certFile: string, keyFile: string): (text: string) => string {
  return (text) =>
    lonely(text).replace(
      '{ "mode": "development" }',
      JSON.stringify({ certFile, keyFile }),
    );
}

Deno.test("the line of `flags` starts a driver that misses only its engine, when a shell runs it", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(folder, lonely);
    const flags = await runProgram("flags", "--manifest", file);
    assertEquals(flags.code, ExitCode.Ok, flags.err);
    const outcome = await runCommand("sh", ["-c", flags.out], { cwd: "/" });
    assertEquals(outcome.code, ExitCode.EngineSocket, outcome.err);
    assertStringIncludes(outcome.err, "nobody.sock");
    assert(!/\n\s+at /.test(outcome.err), outcome.err);
  });
});

Deno.test("the line of `flags` finds every module, when the folders of manifest and caller hold spaces", async () => {
  await withFolder(async (folder) => {
    await Deno.mkdir(`${folder}/my 'room`);
    const file = await editedManifest(`${folder}/my 'room`, lonely);
    const flags = await runProgram("flags", "--manifest", file);
    const outcome = await runCommand("sh", ["-c", flags.out], { cwd: folder });
    assertEquals(outcome.code, ExitCode.EngineSocket, outcome.err);
  });
});

Deno.test("`launch` passes the driver's exit code through, when no engine listens", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(folder, lonely);
    const outcome = await runProgram("launch", "--manifest", file);
    assertEquals(outcome.code, ExitCode.EngineSocket, outcome.err);
    assertStringIncludes(outcome.err, "nobody.sock");
  });
});

Deno.test("`launch` reports the socket, when what stands in its place is stale or no socket", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(folder, lonely);
    await Deno.writeTextFile(`${folder}/nobody.sock`, "");
    const outcome = await runProgram("launch", "--manifest", file);
    assertEquals(outcome.code, ExitCode.EngineSocket, outcome.err);
    assertStringIncludes(outcome.err, "nobody.sock");
  });
});

Deno.test("`launch` reports the certificate, when its file is missing", async () => {
  await withFolder(async (folder) => {
    const file = await editedManifest(folder, certified("absent.pem", "absent_key.pem"));
    const outcome = await runProgram("launch", "--manifest", file);
    assertPlainFailure(outcome, ExitCode.Certificate, "absent.pem");
  });
});

Deno.test("`launch` reports the certificate, when the key belongs to another", async () => {
  await withFolder(async (folder) => {
    for (const name of ["a", "b"]) {
      assertEquals((await runHere("cert", "--out", `${folder}/${name}`)).code, ExitCode.Ok);
    }
    const mixed = await editedManifest(folder, certified("a/cert.pem", "b/key.pem"));
    assertPlainFailure(
      await runProgram("launch", "--manifest", mixed),
      ExitCode.Certificate,
      "key",
    );
    const paired = await editedManifest(folder, certified("a/cert.pem", "a/key.pem"));
    assertEquals((await runProgram("launch", "--manifest", paired)).code, ExitCode.EngineSocket);
  });
});

Deno.test("`run` refuses to start, naming the rights, when it holds all of them", async () => {
  const outcome = await runProgram("run", "--manifest", SERVER);
  assertEquals(outcome.code, ExitCode.ExcessRights, outcome.err);
  for (const right of ["read", "write", "net", "env", "run", "ffi", "sys"]) {
    assertStringIncludes(outcome.err, right);
  }
  assert(!/\n\s+at /.test(outcome.err), outcome.err);
});

Deno.test("`cert` writes a pair with a private key that only its owner reads, when the folder is new", async () => {
  await withFolder(async (folder) => {
    const out = `${folder}/certs`;
    const outcome = await runProgram(
      "cert",
      "--out",
      out,
      "--days",
      "30",
      "--name",
      "room.example.org",
    );
    assertEquals(outcome.code, ExitCode.Ok, outcome.err);
    const pin = /"pin": "([0-9a-f]{64})"/.exec(outcome.out)?.[1];
    assert(pin !== undefined, outcome.out);
    assertEquals((await Deno.stat(`${out}/key.pem`)).mode! & 0o777, 0o600);
    assertEquals((await Deno.stat(out)).mode! & 0o077, 0);
    const pem = await Deno.readTextFile(`${out}/cert.pem`);
    const { readCertificatePin } = await import("../../transport/certificate.ts");
    assertEquals(await readCertificatePin(pem), pin);
    assertStringIncludes(await Deno.readTextFile(`${out}/key.pem`), "PRIVATE KEY");
  });
});

Deno.test("`cert` overwrites nothing, when a file exists", async () => {
  await withFolder(async (folder) => {
    for (const name of ["cert.pem", "key.pem"]) {
      const out = `${folder}/${name}.d`;
      await Deno.mkdir(out);
      await Deno.writeTextFile(`${out}/${name}`, "mine");
      assertPlainFailure(
        await runHere("cert", "--out", out),
        ExitCode.File,
        name,
        "not overwritten",
      );
      assertEquals(await Deno.readTextFile(`${out}/${name}`), "mine");
      assertEquals([...Deno.readDirSync(out)].map((entry) => entry.name), [name]);
    }
  });
});

Deno.test("`cert` says what to change, when its folder cannot be made", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    assertPlainFailure(
      await runHere("cert", "--out", `${folder}/file/certs`),
      ExitCode.File,
      "Name a folder you may write",
    );
    assertPlainFailure(
      await runHere("cert", "--out", folder, "--days", "0"),
      ExitCode.Usage,
      "from 1 to 3650",
    );
  });
});

Deno.test("`main()` prints a stack only with --verbose, when something fails", async () => {
  const plain = await runHere("check", "--manifest", "/nowhere/m.jsonc");
  const verbose = await runHere("check", "--manifest", "/nowhere/m.jsonc", "--verbose");
  assert(!/\n\s+at /.test(plain.err));
  assertMatch(verbose.err, /\n\s+at /);
  assertEquals(verbose.code, plain.code);
});
