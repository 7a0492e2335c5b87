// Runs where the driver runs. Under the driver's own flags: tries what must be refused before start-up, starts the driver by the function
// that `run` calls, waits for a line on standard input, tries everything again, and lets the driver end. With every right: tries
// everything once. Standard output gets one line of JSON for each round.

import { runDriver } from "../../driver/run.ts";
import { type Targets, tryAll } from "./attempt.ts";
import { FILE_ATTEMPTS } from "./attempts_files.ts";
import { NETWORK_ATTEMPTS } from "./attempts_network.ts";
import { PROCESS_ATTEMPTS } from "./attempts_process.ts";

const ATTEMPTS = [...FILE_ATTEMPTS, ...PROCESS_ATTEMPTS, ...NETWORK_ATTEMPTS];

function tell(round: string, value: unknown): void {
  console.log(JSON.stringify({ round, value }));
}

const [, , manifestFile] = Deno.args;
// What to aim at stands in the manifest's first line, a comment: nothing else can be read here, and nothing is passed but the driver's
// own arguments.
const targets = JSON.parse(
  Deno.readTextFileSync(manifestFile!).split("\n")[0]!.slice(2),
) as Targets;

// A refused attempt may leave a promise behind that nobody asked for, or fail late; the driver passes over what somebody took care of, and its
// own failures are seen in its exit code.
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  console.error(`unhandled: ${event.reason}`);
});
addEventListener("error", (event) => {
  event.preventDefault();
  console.error(`uncaught: ${event.message}`);
});

if (Deno.permissions.querySync({ name: "run" }).state === "granted") {
  tell("control", await tryAll(ATTEMPTS, targets));
  Deno.exit(0);
}

tell("before", await tryAll(ATTEMPTS.filter((attempt) => attempt.late !== true), targets));
const ended = runDriver({
  manifestFile: manifestFile!,
  insecureDev: false,
  verbose: false,
  log: (line) => console.error(line),
});
const early = await Promise.race([
  ended,
  Deno.stdin.read(new Uint8Array(16)).then(() => undefined),
]);
if (early !== undefined) Deno.exit(early);
tell("after", await tryAll(ATTEMPTS, targets));
Deno.exit(await ended);
