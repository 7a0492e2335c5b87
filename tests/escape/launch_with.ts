// A launcher whose environment holds the variables of its second argument (JSON). They are set after its own start, when the runtime has
// read its own: so whatever is seen of them comes from the driver. First argument: the manifest. With a third, the driver is started with
// the same command but this whole environment: the control.

import { startCommand } from "../../driver/launcher.ts";
import { main } from "../../driver/cli.ts";

const [manifest, variables, control] = Deno.args;
for (const [name, value] of Object.entries(JSON.parse(variables!) as Record<string, string>)) {
  Deno.env.set(name, value);
}
if (control === undefined) Deno.exit(await main(["launch", "--manifest", manifest!]));
const command = startCommand(manifest!);
const process = new Deno.Command(command.executable, {
  args: [...command.args],
  stdin: "null",
  stdout: "inherit",
  stderr: "inherit",
}).spawn();
// Its exporter can hold its end up for long; what it did before is what counts.
Deno.addSignalListener("SIGTERM", () => process.kill("SIGKILL"));
Deno.exit((await process.status).code);
