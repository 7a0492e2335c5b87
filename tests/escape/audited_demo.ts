// Plays the demo with a launcher that lets the runtime note each right that a driver uses. The variable goes to the drivers alone, and
// neither the demo nor the driver knows of it. First argument: the folder for the notes, one file per driver, named after its manifest.

import { runDemo } from "../../examples/demo.ts";

const [folder] = Deno.args;
const Command = Deno.Command;

/** Names the file of notes in the environment of every driver. */
class AuditedCommand extends Command {
  constructor(command: string | URL, options: Deno.CommandOptions = {}) {
    const args = options.args ?? [];
    const manifest = args[args.indexOf("--manifest") + 1] ?? "";
    const name = manifest.slice(manifest.lastIndexOf("/") + 1).replace(".jsonc", "");
    const file = `${folder}/${name} ${crypto.randomUUID()}.jsonl`;
    super(command, { ...options, env: { ...options.env, DENO_AUDIT_PERMISSIONS: file } });
  }
}

Object.defineProperty(Deno, "Command", { value: AuditedCommand });
Deno.exit(await runDemo({ seconds: 8, clients: 3 }));
