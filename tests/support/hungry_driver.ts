// The driver's own start-up in a process that takes ever more memory beside it, for the test of what a driver does when memory runs short.
// Arguments: the manifest, and the signal file: the ballast begins to grow when it exists. Megabytes a step and ms between steps follow.

import { runDriver } from "../../driver/run.ts";

const [manifestFile = "", signal = "", megabytes = "4", pauseMs = "50"] = Deno.args;
const ballast: Uint8Array[] = [];
setInterval(() => {
  try {
    Deno.statSync(signal);
  } catch {
    return;
  }
  // Filled, so that the system has to give it.
  ballast.push(new Uint8Array(Number(megabytes) * 2 ** 20).fill(ballast.length % 255 + 1));
}, Number(pauseMs));
// The driver gives up its right to read; what the signal needs, it keeps.
Deno.permissions.revoke = () => Deno.permissions.query({ name: "read" });
Deno.exit(
  await runDriver({
    manifestFile,
    insecureDev: true,
    verbose: true,
    log: (line) => console.error(`syncra: ${line}`),
  }),
);
