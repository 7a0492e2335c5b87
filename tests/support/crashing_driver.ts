// The driver's own start-up around a core with a mistake in it, for the test of what a driver says about itself at its end. Arguments: the
// manifest, where the mistake strikes ("timer", "engine" or "promise"), and the message that must not get out.

import { runDriver } from "../../driver/run.ts";
import { ServerCore } from "../../driver/server_core.ts";

const [manifestFile = "", where = "", message = ""] = Deno.args;

class Misfit extends TypeError {}

function fail(): never {
  throw new Misfit(message);
}

if (where === "timer") ServerCore.prototype.handleTimer = fail;
if (where === "engine") ServerCore.prototype.handleEngine = fail;
if (where === "promise") {
  ServerCore.prototype.handleListening = () => void Promise.reject(new Misfit(message));
}
Deno.exit(
  await runDriver({
    manifestFile,
    insecureDev: true,
    verbose: true,
    log: (line) => console.error(`syncra: ${line}`),
  }),
);
