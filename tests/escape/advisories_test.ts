// The published permission advisories of the runtime that can be expressed on Linux, one test each: what each let through must be refused
// by the runtime that is used, and the same program must work when the right is given.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { denoFlags } from "../../permissions/deno_flags.ts";
import { parsed, smallManifest } from "../support/manifest_samples.ts";
import { type Outcome, runCommand, withFolder } from "../support/run_program.ts";

/** Runs a program under these flags and no configuration; with an environment of these variables only. */
async function runUnder(
  flags: readonly string[],
  program: string,
  options: { readonly folder?: string; readonly env?: Record<string, string> } = {},
): Promise<Outcome> {
  return await withFolder(async (made) => {
    const file = `${options.folder ?? made}/program.mjs`;
    await Deno.writeTextFile(file, `${program}\nconsole.log("done");\nDeno.exit(0);\n`);
    return await runCommand(Deno.execPath(), [
      "run",
      "--quiet",
      "--no-prompt",
      "--no-config",
      "--no-lock",
      ...flags,
      file,
    ], { clearEnv: true, env: { NO_COLOR: "1", ...options.env } });
  });
}

function assertRefused(outcome: Outcome, reason: RegExp = /NotCapable|Requires \w+ access/): void {
  assertEquals(outcome.out, "", "it was not refused");
  assertMatch(outcome.err, reason);
}

function assertWorks(outcome: Outcome): void {
  assertEquals(outcome.out.trim().split("\n").at(-1), "done", outcome.err);
}

/** A listener on a Unix socket that answers any request, while `use` runs. */
async function withSocket(use: (path: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const path = `${folder}/s.sock`;
    const server = Deno.serve({ path, onListen() {} }, () => new Response("x"));
    try {
      await use(path);
    } finally {
      await server.shutdown();
    }
  });
}

/** A listener on a free TCP port of loopback that speaks HTTP and WebSocket, while `use` runs. */
async function withServer(use: (port: number) => Promise<void>): Promise<void> {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) =>
      request.headers.get("upgrade") === "websocket"
        ? Deno.upgradeWebSocket(request).response
        : new Response("x"),
  );
  try {
    await use(server.addr.port);
  } finally {
    await server.shutdown();
  }
}

const SOCKET_PROGRAMS: readonly (readonly [string, string, (path: string) => string])[] = [
  [
    "denoland/deno#34395",
    "Deno.connect",
    (path) => `(await Deno.connect({ transport: "unix", path: ${JSON.stringify(path)} })).close();`,
  ],
  ["denoland/deno#35835", "node:net", (path) =>
    `import net from "node:net";
     await new Promise((resolve, reject) => {
       const socket = net.connect(${JSON.stringify(path)}, resolve);
       socket.on("error", reject);
     });`],
  [
    "denoland/deno#35231",
    "a proxy of fetch",
    (path) =>
      `const client = Deno.createHttpClient({ proxy: { transport: "unix", path: ${
        JSON.stringify(path)
      } } });
     await (await fetch("http://localhost/", { client })).text();`,
  ],
];

for (const [id, way, program] of SOCKET_PROGRAMS) {
  Deno.test(`${id}: a Unix socket is not reached by ${way} with file rights alone`, async () => {
    await withSocket(async (path) => {
      const files = [`--allow-read=${path}`, `--allow-write=${path}`];
      // The address behind the proxy has a right of its own, so that only the socket's is missing.
      const net = way.startsWith("a proxy") ? ["localhost:80"] : [];
      assertRefused(
        await runUnder(
          [...files, ...(net.length === 0 ? [] : [`--allow-net=${net.join(",")}`])],
          program(path),
        ),
      );
      assertWorks(
        await runUnder(
          [...files, `--allow-net=${[`unix:${path}`, ...net].join(",")}`],
          program(path),
        ),
      );
    });
  });
}

Deno.test("CVE-2026-49860: a WebSocket is refused, when its name resolves to a denied address", async () => {
  await withServer(async (port) => {
    const program = `await new Promise((resolve, reject) => {
      const socket = new WebSocket("ws://localhost:${port}/");
      socket.onopen = resolve;
      socket.onerror = (event) => reject(new Error("Requires net access? " + event.message));
    });`;
    const allow = `--allow-net=localhost:${port}`;
    assertRefused(
      await runUnder([allow, "--deny-net=127.0.0.1,[::1]"], program),
      /NotCapable|Requires net access/,
    );
    assertWorks(await runUnder([allow], program));
  });
});

Deno.test("CVE-2026-49401: no deny rule for a path or host stands between a driver and a right it holds", () => {
  // That advisory is about deny rules on macOS, spelt in another case. What is never allowed needs no deny rule.
  const { args } = denoFlags(parsed(smallManifest()), {
    manifestFile: "/srv/room/m.jsonc",
    configFile: "/app/deno.json",
    moduleFile: "/app/mod.ts",
  });
  assertEquals(args.filter((one) => one.startsWith("--deny-")), ["--deny-import"]);
});

Deno.test("CVE-2026-49406: a package's main does not reach outside the readable folder, when node_modules is manual", async () => {
  await withFolder(async (made) => {
    const folder = await Deno.realPath(made);
    await Deno.mkdir(`${folder}/app/node_modules/pkg`, { recursive: true });
    await Deno.writeTextFile(`${folder}/secret.json`, '"secret"');
    await Deno.writeTextFile(
      `${folder}/app/node_modules/pkg/package.json`,
      '{ "name": "pkg", "version": "1.0.0", "main": "../../../secret.json" }',
    );
    const program = `import { createRequire } from "node:module";
      createRequire("file://${folder}/app/x.js")("pkg");`;
    const flags = (readable: string) => ["--node-modules-dir=manual", `--allow-read=${readable}`];
    const options = { folder: `${folder}/app` };
    // The file is there: that it "cannot be found" is the refusal.
    assertRefused(
      await runUnder(flags(`${folder}/app`), program, options),
      /NotCapable|Requires read access|Cannot find module .*secret\.json/,
    );
    // A main inside the package is found by the same program under the same rights.
    await Deno.writeTextFile(`${folder}/app/node_modules/pkg/own.json`, '"own"');
    await Deno.writeTextFile(
      `${folder}/app/node_modules/pkg/package.json`,
      '{ "name": "pkg", "version": "1.0.0", "main": "./own.json" }',
    );
    assertWorks(await runUnder(flags(`${folder}/app`), program, options));
  });
});

Deno.test("CVE-2025-48888: what is both allowed and denied is denied, for every kind of right", async () => {
  const kinds = ["read", "write", "net", "env", "run", "ffi", "sys", "import"];
  const program = `console.log(JSON.stringify(${
    JSON.stringify(kinds)
  }.map((name) => Deno.permissions.querySync({ name }).state)));`;
  const states = async (flags: readonly string[]) =>
    JSON.parse((await runUnder(flags, program)).out.split("\n")[0]!) as string[];
  const allow = kinds.map((kind) => `--allow-${kind}`);
  const deny = kinds.map((kind) => `--deny-${kind}`);
  assertEquals(await states([...allow, ...deny]), kinds.map(() => "denied"));
  assertEquals(await states([...deny, ...allow]), kinds.map(() => "denied"));
  assertEquals(await states(allow), kinds.map(() => "granted"));
});

Deno.test("GHSA-vc52-gwm3-8v2f: node:http asks for the right to the network", async () => {
  await withServer(async (port) => {
    const program = `import http from "node:http";
      await new Promise((resolve, reject) =>
        http.get("http://127.0.0.1:${port}/", resolve).on("error", reject));`;
    assertRefused(await runUnder([], program));
    assertWorks(await runUnder([`--allow-net=127.0.0.1:${port}`], program));
  });
});

Deno.test("GHSA-6q4w-9x56-rmwq: no descriptor becomes a channel, when a program asks the internals for one", async () => {
  const program = `
    const { ops } = Deno[Deno.internal].core;
    const reachable = Object.keys(ops).filter((name) => /ipc|pipe|fd/.test(name));
    if (reachable.length > 0) throw new Error("reachable: " + reachable);
    if (process.send !== undefined || process.connected) throw new Error("there is a channel");`;
  assertWorks(await runUnder([], program));
  const { env } = denoFlags(parsed(smallManifest()), {
    manifestFile: "/srv/room/m.jsonc",
    configFile: "/app/deno.json",
    moduleFile: "/app/mod.ts",
  });
  assertEquals(env, {}, "NODE_CHANNEL_FD would make one");
});

Deno.test("GHSA-23rx-c3g5-hv9w: files that hold more than bytes need more than the right to read", async () => {
  const read = (path: string) => `Deno.readFileSync(${JSON.stringify(path)});`;
  for (const path of ["/proc/self/environ", "/proc/self/maps", "/proc/self/mem"]) {
    assertRefused(
      await runUnder(["--allow-read=/", "--allow-write=/"], read(path)),
      /NotCapable/,
    );
  }
  assertWorks(await runUnder(["-A"], read("/proc/self/environ")));
});

Deno.test("CVE-2022-24783: native code needs its right, when everything else is given", async () => {
  const program =
    `Deno.dlopen("libc.so.6", { getpid: { parameters: [], result: "i32" } }).close();`;
  const others = ["read", "write", "net", "env", "run", "sys", "import"].map((kind) =>
    `--allow-${kind}`
  );
  assertRefused(await runUnder(others, program));
  assertWorks(await runUnder([...others, "--allow-ffi"], program));
});

Deno.test("CVE-2021-32619: static imports of a module imported while running ask for rights, too", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/secret.js`, "export default 1;");
    const inner = `import "file://${folder}/secret.js"`;
    const program = `await import("data:text/javascript," + encodeURIComponent(${
      JSON.stringify(inner)
    }));`;
    assertRefused(await runUnder([], program), /NotCapable|Requires read access|not allowed/i);
    const url = `${folder}/blob.js`;
    await Deno.writeTextFile(url, inner);
    assertWorks(
      await runUnder(
        [`--allow-read=${folder}`],
        `const name = "file://${url}"; await import(name);`,
      ),
    );
  });
});

Deno.test("GHSA-8vxj-4cph-c596: a database in memory attaches no file, when the file may not be read", async () => {
  await withFolder(async (folder) => {
    const program = `import { DatabaseSync } from "node:sqlite";
      const database = new DatabaseSync(":memory:");
      database.exec("ATTACH '${folder}/a.sqlite' AS a; CREATE TABLE a.t (x)");`;
    assertRefused(await runUnder([], program), /too many attached databases/);
    assertEquals([...Deno.readDirSync(folder)].length, 0);
    assertWorks(await runUnder(["-A"], program));
  });
});

Deno.test("GHSA-7w8p-chxq-2789: a denied variable is in no list of variables", async () => {
  const program = `if ("SECRET" in Deno.env.toObject()) throw new Error("listed");`;
  const env = { SECRET: "1" };
  assertWorks(await runUnder(["--allow-env", "--deny-env=SECRET"], program, { env }));
  const outcome = await runUnder(["--allow-env"], program, { env });
  assert(outcome.err.includes("listed"), "the control must find it");
});

Deno.test("GHSA-hrqr-jv8w-v9jh: a temporary file is made nowhere but where writing is allowed", async () => {
  await withFolder(async (folder) => {
    await Deno.mkdir(`${folder}/mine`);
    const program = (prefix: string) =>
      `Deno.makeTempFileSync({ dir: "${folder}/mine", prefix: ${JSON.stringify(prefix)} });`;
    const flags = [`--allow-read=${folder}/mine`, `--allow-write=${folder}/mine`];
    assertRefused(await runUnder(flags, program("../../out")), /./);
    assertEquals([...Deno.readDirSync(folder)].map((entry) => entry.name), ["mine"]);
    assertWorks(await runUnder(flags, program("in")));
  });
});

Deno.test("a worker that asks for rights of its own gets none, when the driver's flags are in force", async () => {
  const program = (rights: string) =>
    `const url = URL.createObjectURL(new Blob(["postMessage(1)"], { type: "text/javascript" }));
     await new Promise((resolve, reject) => {
       const worker = new Worker(url, { type: "module", deno: { permissions: ${rights} } });
       worker.onmessage = resolve;
       worker.onerror = reject;
     });`;
  // Without the runtime's unstable flag, which no driver gets, the request ends the process.
  assertRefused(await runUnder([], program("{ read: true }")), /Unstable API/);
  const unstable = "--unstable-worker-options";
  assertRefused(await runUnder([unstable], program("{ read: true }")), /escalate/i);
  assertWorks(await runUnder([unstable, "--allow-read"], program("{ read: true }")));
});
