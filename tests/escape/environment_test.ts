// Variables by which the runtime would be made to talk, to write or to load: set where the driver is launched, they must reach nothing.
// The control starts the same driver with them, and they do.

import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { listenForDriver } from "../../engine/listen.ts";
import { ReferenceWorld } from "../../engine/reference_world.ts";
import { ROOT } from "../support/run_program.ts";
import { Range } from "./range.ts";

/** What was seen of one launched driver. */
interface Seen {
  readonly joined: boolean;
  readonly code: number;
  /** Requests at the sink, by path. */
  readonly requests: readonly string[];
  /** Files that appeared in the folder of the variables. */
  readonly files: readonly string[];
  readonly err: string;
}

async function launchAmid(control: boolean): Promise<Seen> {
  const range = await Range.create();
  const { targets } = range;
  const requests: string[] = [];
  const sink = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    requests.push(new URL(request.url).pathname);
    await request.arrayBuffer();
    return new Response("{}", { headers: { "content-type": "application/json" } });
  });
  const joined = Promise.withResolvers<boolean>();
  const engine = await listenForDriver({
    socket: targets.engineSocket,
    manifest: targets.manifest,
    world: new ReferenceWorld(),
    callbacks: { onJoined: () => joined.resolve(true) },
    log: () => {},
  });
  const out = `${targets.folder}/out`;
  Deno.mkdirSync(out);
  Deno.writeTextFileSync(`${targets.folder}/preload.cjs`, `console.error("foreign code runs");`);
  const variables = {
    OTEL_DENO: "true",
    OTEL_DENO_CONSOLE: "capture",
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${sink.addr.port}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_METRIC_EXPORT_INTERVAL: "100",
    OTEL_RESOURCE_ATTRIBUTES: "canary=1",
    NODE_OPTIONS: `--require ${targets.folder}/preload.cjs`,
    SSLKEYLOGFILE: `${out}/keys.log`,
    DENO_AUDIT_PERMISSIONS: `${out}/audit.jsonl`,
    DENO_COVERAGE_DIR: `${out}/coverage`,
    DENO_V8_FLAGS: "--no-opt",
    DENO_TRACE_PERMISSIONS: "1",
    DENO_CERT: `${out}/none.pem`,
    DENO_TLS_CA_STORE: "system",
    DENO_NO_PROMPT: "0",
    HTTP_PROXY: `http://127.0.0.1:${sink.addr.port}`,
    HTTPS_PROXY: `http://127.0.0.1:${sink.addr.port}`,
  };
  const launcher = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      `--config=${ROOT}deno.json`,
      `${ROOT}tests/escape/launch_with.ts`,
      targets.manifest,
      JSON.stringify(variables),
      ...(control ? ["control"] : []),
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const err = new Response(launcher.stderr).text();
  const ended = launcher.status;
  ended.then(() => joined.resolve(false));
  const guard = setTimeout(() => launcher.kill("SIGTERM"), 20_000);
  const hasJoined = await joined.promise;
  // Ten intervals of the exporter.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await engine.close();
  if (control) launcher.kill("SIGTERM");
  const { code } = await ended;
  clearTimeout(guard);
  const files = [...Deno.readDirSync(out)].map((entry) => entry.name).sort();
  await sink.shutdown();
  await range.close();
  return { joined: hasJoined, code, requests, files, err: await err };
}

Deno.test("nothing leaves and nothing is written, when the launcher's environment is full of orders to", async () => {
  const seen = await launchAmid(false);
  assert(seen.joined, seen.err);
  assertEquals(seen.code, 0, seen.err);
  assertEquals(seen.requests, []);
  assertEquals(seen.files, []);
  assertEquals(seen.err, "");
});

Deno.test("the same orders are obeyed, when the same driver gets them", async () => {
  const seen = await launchAmid(true);
  assert(seen.joined, seen.err);
  assertGreater(seen.requests.length, 0);
  assert(seen.files.includes("audit.jsonl"), seen.files.join(" "));
  assertStringIncludes(seen.err, "foreign code runs");
});
