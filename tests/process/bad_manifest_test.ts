// A manifest, certificate or start command that cannot be used: the driver's process ends with the documented code and one paragraph,
// before it opens anything.

import { assert, assertEquals } from "@std/assert";
import { startCommand } from "../../driver/launcher.ts";
import { writeCertificate } from "../../driver/certificate_files.ts";
import { ExitCode } from "../../driver/exit_codes.ts";
import { assertEnds, assertTold } from "../support/bad_start.ts";
import { writeExpiredCertificate } from "../support/expired_certificate.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { ProcessStage } from "../support/process_stage.ts";
import { type Outcome, ROOT, runCommand } from "../support/run_program.ts";

/** Runs the driver under the rights that its manifest had, after `spoil` changed the file. */
async function runSpoilt(
  stage: ProcessStage,
  spoil: (file: string) => void,
): Promise<Outcome> {
  const file = stage.manifest("server", "server");
  const { executable, args, env } = startCommand(file);
  spoil(file);
  return await runCommand(executable, args, { env: { ...env }, clearEnv: true });
}

/** Runs the driver under other words than its start command's. */
async function runWith(
  stage: ProcessStage,
  change: (words: string[]) => string[],
): Promise<Outcome> {
  const { executable, args, env } = startCommand(stage.manifest("server", "server"));
  return await runCommand(executable, change([...args]), { env: { ...env }, clearEnv: true });
}

const spoilt: readonly (readonly [string, (file: string) => void, readonly string[]])[] = [
  ["is missing", (file) => Deno.removeSync(file), ["server.jsonc", "no such file"]],
  ["is not JSON", (file) => Deno.writeTextFileSync(file, "{ world: "), ["server.jsonc", "line 1"]],
  [
    "holds a key that nobody knows",
    (file) => rewrite(file, (value) => value.world.tickHZ = 30),
    ["world.tickHZ", 'did you mean "tickHz"'],
  ],
  [
    "holds an impossible range",
    (file) => rewrite(file, (value) => value.world.components[0].fields.body.max = -600),
    ["world.components[0].fields.body.max", "above min"],
  ],
  [
    "asks for a voice range beyond what can be seen",
    (file) => rewrite(file, (value) => value.world.voice.range = 900),
    ["world.voice.range"],
  ],
];

function rewrite(file: string, edit: (value: Loose) => void): void {
  const value = JSON.parse(Deno.readTextFileSync(file));
  edit(value);
  Deno.writeTextFileSync(file, JSON.stringify(value, null, 2));
}

for (const [what, spoil, parts] of spoilt) {
  Deno.test(`the driver ends with code 3 and says where, when its manifest ${what}`, () =>
    ProcessStage.play(async (stage) => {
      const { code, err, out } = await runSpoilt(stage, spoil);
      assertTold(code, err, ExitCode.Manifest, parts);
      assertEquals(out, "");
    }));
}

Deno.test("the driver ends with code 9 and names the file, when its certificate cannot be used", () =>
  ProcessStage.play(async (stage) => {
    for (const name of ["a", "b"]) {
      await writeCertificate(`${stage.folder}/${name}`, 30, ["127.0.0.1"]);
    }
    await writeExpiredCertificate(`${stage.folder}/old`);
    Deno.writeTextFileSync(`${stage.folder}/text.pem`, "I am no certificate.\n");
    const cases: readonly (readonly [string, string, ...string[]])[] = [
      ["a/none.pem", "a/key.pem", "a/none.pem", "no such file", "host.certificate.certFile"],
      ["a/cert.pem", "a/none.pem", "a/none.pem", "no such file", "host.certificate.keyFile"],
      ["a/cert.pem", "b/key.pem", "a/cert.pem", "does not belong to the certificate"],
      ["text.pem", "a/key.pem", "text.pem", "no certificate found"],
      ["a/cert.pem", "text.pem", "private key cannot be read"],
      ["old/cert.pem", "old/key.pem", "old/cert.pem", "expired on"],
    ];
    for (const [certFile, keyFile, ...parts] of cases) {
      const file = stage.manifest("server", "server", (value) => {
        value.host.certificate = { certFile, keyFile };
      });
      await assertEnds(stage.launch(file), ExitCode.Certificate, ...parts);
    }
  }));

Deno.test("a client's driver ends with code 9 and names the file, when its authority's cannot be used", () =>
  ProcessStage.play(async (stage) => {
    const launch = (caFile: string) =>
      stage.launch(stage.manifest("ann", "client", (value) => value.host.caFile = caFile));
    await assertEnds(launch("none.pem"), ExitCode.Certificate, "host.caFile", "no such file");
    Deno.writeTextFileSync(`${stage.folder}/text.pem`, "I am no certificate.\n");
    await assertEnds(launch("text.pem"), ExitCode.Certificate, "host.caFile", "no certificate");
  }));

Deno.test("the driver ends with code 4 and says which, when it holds rights without limits", () =>
  ProcessStage.play(async (stage) => {
    const first = (words: string[], ...more: string[]) => [words[0]!, ...more, ...words.slice(1)];
    const cases: readonly (readonly [(words: string[]) => string[], readonly string[]])[] = [
      [
        (words) => ["run", "-A", "--quiet", ...words.slice(-4)],
        ["read", "write", "net", "env", "run", "ffi", "sys", "import"],
      ],
      [(words) => first(words, "--allow-env"), ["env"]],
      [
        (words) => words.map((word) => word.startsWith("--allow-read=") ? "--allow-read" : word),
        ["read"],
      ],
    ];
    for (const [change, rights] of cases) {
      const { code, err } = await runWith(stage, change);
      assertTold(code, err, ExitCode.ExcessRights, ["--insecure-dev", "launch"]);
      const told = [...err.matchAll(/^ {2}- (\w+) is granted/gm)].map((match) => match[1]!);
      assertEquals(told, rights);
    }
  }));

Deno.test("the driver starts in spite of such rights, when it is told --insecure-dev", () =>
  ProcessStage.play(async (stage) => {
    const { code, err } = await runWith(
      stage,
      (words) => ["run", "-A", "--quiet", ...words.slice(-4), "--insecure-dev"],
    );
    // It comes as far as the engine that is not there.
    assertTold(code, err, ExitCode.EngineSocket, ["server.sock"]);
  }));

Deno.test("a driver started by hand without any right ends with a message, when it may not read its manifest", () =>
  ProcessStage.play(async (stage) => {
    const { code, err } = await runWith(stage, (words) => [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${ROOT}deno.json`,
      ...words.slice(-4),
    ]);
    assertTold(code, err, ExitCode.Manifest, ["no right to read it", "launch"]);
    assert(!err.includes("NotCapable"));
  }));
