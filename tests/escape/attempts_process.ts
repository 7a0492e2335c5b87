// Attempts on the process and the machine: variables, programs, signals, native code, facts of the system, foreign modules, workers,
// and rights asked for or taken.

import childProcess from "node:child_process";
import inspector from "node:inspector";
import { createRequire } from "node:module";
import os from "node:os";
import { Worker as NodeWorker } from "node:worker_threads";
import { type Attempt, firstEvent, Refused, type Targets } from "./attempt.ts";

/** A specifier that the module graph cannot hold: everything in the graph may be loaded without a right. */
function unknownToTheGraph(specifier: string): string {
  return specifier;
}

/** Runs `code` in a worker; resolves with the first thing it posts. */
function inWorker(code: string): Promise<unknown> {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  return postOf(new Worker(url, { type: "module" }));
}

function postOf(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = (event) => resolve(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
  }).finally(() => worker.terminate());
}

async function requestRight(descriptor: Deno.PermissionDescriptor): Promise<void> {
  const { state } = await Deno.permissions.request(descriptor);
  if (state !== "granted") throw new Refused(`the answer is "${state}"`);
}

function requestedSync(descriptor: Deno.PermissionDescriptor): void {
  const { state } = Deno.permissions.requestSync(descriptor);
  if (state !== "granted") throw new Refused(`the answer is "${state}"`);
}

const LIBRARY = "libc.so.6";

/** Code for a worker that tells what it could do. */
const tell = (call: string) =>
  `try { const v = await ${call}; postMessage("done") } catch (e) { postMessage(e.name + " " + e.message) }`;

async function toldDone(answer: Promise<unknown>): Promise<void> {
  const text = String(await answer);
  if (text !== "done") throw Object.assign(new Error(text), { name: "InWorker" });
}

/** All of them. */
export const PROCESS_ATTEMPTS: readonly Attempt[] = [
  { does: "reading a variable", run: () => Deno.env.get("PATH") },
  { does: "reading all variables", run: () => Deno.env.toObject() },
  { does: "asking whether a variable is set", run: () => Deno.env.has("HOME") },
  {
    does: "setting the variable that turns telemetry on",
    run: () => Deno.env.set("OTEL_DENO", "true"),
  },
  { does: "deleting a variable", run: () => Deno.env.delete("SYNCRA_NONE") },
  { does: "reading a variable through Node", run: () => process.env["PATH"] },
  { does: "listing variables through Node", run: () => Object.keys(process.env) },
  {
    does: "setting NODE_OPTIONS through Node",
    run: () => {
      process.env["NODE_OPTIONS"] = "";
    },
  },
  { does: "running a program", run: () => new Deno.Command("/bin/true").output() },
  {
    does: "running a program synchronously",
    run: () => new Deno.Command("/bin/true").outputSync(),
  },
  {
    does: "running the runtime itself again",
    run: () => new Deno.Command(Deno.execPath(), { args: ["--version"], stdout: "null" }).output(),
  },
  {
    does: "running a program by node:child_process",
    run: () => {
      const { error } = childProcess.spawnSync("/bin/true");
      if (error !== undefined) throw error;
    },
  },
  {
    does: "running a shell by node:child_process",
    run: () => firstEvent(childProcess.exec("true"), "exit"),
  },
  {
    does: "forking by node:child_process",
    run: (t) => firstEvent(childProcess.fork(`${t.folder}/module.js`), "exit"),
  },
  { does: "signalling the parent", run: () => Deno.kill(Deno.ppid, "SIGCONT") },
  { does: "signalling the parent through Node", run: () => process.kill(process.ppid, 0) },
  {
    does: "opening a native library",
    run: () => Deno.dlopen(LIBRARY, { getpid: { parameters: [], result: "i32" } }).close(),
  },
  {
    does: "making a pointer out of a number",
    run: () => Deno.UnsafePointer.create(4096n),
  },
  {
    does: "opening a native add-on",
    refusal: /^NotCapable /,
    run: (t) => {
      try {
        (process as unknown as { dlopen(module: unknown, path: string): void }).dlopen(
          { exports: {} },
          `${t.folder}/secret.txt`,
        );
      } catch (error) {
        // With the right to try, the library is opened and found to be none.
        if (!/invalid ELF|file too short|not.*(shared|valid)/i.test(String(error))) throw error;
      }
    },
  },
  { does: "reading the host's name", run: () => Deno.hostname() },
  { does: "reading the system's release", run: () => Deno.osRelease() },
  { does: "reading the system's load", run: () => Deno.loadavg() },
  { does: "reading the system's memory", run: () => Deno.systemMemoryInfo() },
  { does: "listing network interfaces", run: () => Deno.networkInterfaces() },
  { does: "reading the user's number", run: () => Deno.uid() },
  { does: "reading the group's number", run: () => Deno.gid() },
  { does: "reading the system's uptime", run: () => Deno.osUptime() },
  { does: "reading the file mode mask", run: () => Deno.umask() },
  { does: "listing processors by node:os", run: () => os.cpus() },
  { does: "reading the user by node:os", run: () => os.userInfo() },
  {
    does: "opening the inspector's port",
    run: () => {
      inspector.open(0, "127.0.0.1");
      inspector.close();
    },
  },
  {
    does: "connecting an inspector's session",
    run: () => {
      const session = new inspector.Session();
      session.connect();
      session.disconnect();
    },
  },
  {
    does: "importing a module from a server",
    run: (t) => import(unknownToTheGraph(`http://127.0.0.1:${t.httpPort}/module.js`)),
  },
  {
    does: "importing a module from disk",
    run: (t) => import(unknownToTheGraph(`file://${t.folder}/module.js`)),
  },
  {
    does: "importing JSON from disk",
    run: (t) =>
      import(unknownToTheGraph(`file://${t.folder}/data.json`), { with: { type: "json" } }),
  },
  {
    does: "importing WebAssembly from disk",
    run: (t) => import(unknownToTheGraph(`file://${t.folder}/empty.wasm`)),
  },
  {
    does: "requiring a CommonJS module from disk",
    run: (t) => createRequire(`file://${t.folder}/`)("./module.cjs"),
  },
  {
    does: "starting a worker from a file",
    run: (t) => postOf(new Worker(`file://${t.folder}/worker.js`, { type: "module" })),
  },
  {
    does: "starting a worker from a server",
    run: (t) => postOf(new Worker(`http://127.0.0.1:${t.httpPort}/worker.js`, { type: "module" })),
  },
  {
    does: "starting a worker from a file by node:worker_threads",
    run: async (t) => {
      const worker = new NodeWorker(`${t.folder}/worker.cjs`);
      try {
        await firstEvent(worker as unknown as Parameters<typeof firstEvent>[0], "message");
      } finally {
        await worker.terminate();
      }
    },
  },
  {
    does: "reading a file from a worker made in memory",
    run: (t) =>
      toldDone(inWorker(tell(`Deno.readFile(${JSON.stringify(`${t.folder}/secret.txt`)})`))),
  },
  {
    does: "reading a file from a worker whose code is in its address",
    run: (t) => {
      const code = tell(`Deno.readFile(${JSON.stringify(`${t.folder}/secret.txt`)})`);
      const url = `data:text/javascript,${encodeURIComponent(code)}`;
      return toldDone(postOf(new Worker(url, { type: "module" })));
    },
  },
  {
    does: "connecting from a worker made in memory",
    run: (t) =>
      toldDone(
        inWorker(tell(`Deno.connect({ hostname: "127.0.0.1", port: ${t.tcpPort} })`)),
      ),
  },
  {
    does: "connecting to the engine again from a worker after start-up",
    late: true,
    run: (t) =>
      toldDone(
        inWorker(
          tell(`Deno.connect({ transport: "unix", path: ${JSON.stringify(t.engineSocket)} })`),
        ),
      ),
  },
  {
    does: "importing a file from a worker made in memory",
    run: (t) => toldDone(inWorker(tell(`import("file://" + ${JSON.stringify(importable(t))})`))),
  },
  {
    does: "asking for the right to read everything",
    late: true,
    run: () => requestRight({ name: "read" }),
  },
  {
    does: "asking for the right to read what was given up",
    late: true,
    run: (t) => requestRight({ name: "read", path: t.manifest }),
  },
  {
    does: "asking for the right to the network",
    late: true,
    run: () => requestRight({ name: "net" }),
  },
  {
    does: "asking for the right to run programs",
    late: true,
    run: () => requestRight({ name: "run" }),
  },
  {
    does: "asking for the right to variables, synchronously",
    late: true,
    run: () => requestedSync({ name: "env" }),
  },
  {
    does: "asking for the right to native code, synchronously",
    late: true,
    run: () => requestedSync({ name: "ffi" }),
  },
];

function importable(t: Targets): string {
  return `${t.folder}/module.js`;
}
