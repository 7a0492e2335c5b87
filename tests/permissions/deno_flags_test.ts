import { assert, assertEquals, assertThrows } from "@std/assert";
import { denoFlags } from "../../permissions/deno_flags.ts";
import { coversEndpoint } from "../../permissions/endpoint.ts";
import { ManifestError } from "../../permissions/manifest_error.ts";
import { type Loose, parsed, smallManifest } from "../support/manifest_samples.ts";

const PATHS = {
  manifestFile: "/srv/room/m.jsonc",
  configFile: "/app/deno.json",
  moduleFile: "/app/mod.ts",
};

Deno.test("denoFlags() names every right of a server exactly", () => {
  const value = smallManifest();
  value.host.certificate = { certFile: "cert.pem", keyFile: "keys/key.pem" };
  value.host.limits = { heapMb: 256 };
  assertEquals(denoFlags(parsed(value), PATHS), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      "--cached-only",
      "--frozen",
      "--config=/app/deno.json",
      "--allow-read=/srv/room/m.jsonc,/srv/room/cert.pem,/srv/room/keys/key.pem,/srv/room/engine.sock",
      "--allow-write=/srv/room/engine.sock",
      "--allow-net=unix:/srv/room/engine.sock,127.0.0.1:4433",
      "--deny-import",
      "--v8-flags=--max-old-space-size=256",
      "/app/mod.ts",
      "run",
      "--manifest",
      "/srv/room/m.jsonc",
    ],
    env: {},
  });
});

Deno.test("denoFlags() names every endpoint of a client, and no network of a loopback driver", () => {
  const net = (host: Loose) => {
    const value = smallManifest();
    value.host = { engineSocket: "/run/e.sock", ...host };
    return denoFlags(parsed(value), PATHS).args.find((one) => one.startsWith("--allow-net"));
  };
  assertEquals(
    net({ role: "client", connect: ["play.example.org:4433", "[::1]:4433"], caFile: "ca.pem" }),
    "--allow-net=unix:/run/e.sock,play.example.org:4433,[::1]:4433",
  );
  assertEquals(
    net({ role: "client", connect: ["10.1.0.0/16:4433", "play.example.org:4433"] }),
    "--allow-net=unix:/run/e.sock,10.1.0.0/16:4433,play.example.org:4433",
  );
  assertEquals(net({ role: "loopback" }), "--allow-net=unix:/run/e.sock");
});

Deno.test("denoFlags() grants nothing without limits", () => {
  for (const arg of denoFlags(parsed(smallManifest()), PATHS).args) {
    assert(!/^(-A|--allow-all)/.test(arg));
    if (arg.startsWith("--allow-")) {
      assert(/^--allow-(read|write|net)=[^,]+(,[^,]+)*$/.test(arg), arg);
    }
  }
});

Deno.test("denoFlags() refuses paths that flags cannot name", () => {
  const manifest = parsed(smallManifest());
  for (const key of ["manifestFile", "configFile", "moduleFile"] as const) {
    assertThrows(() => denoFlags(manifest, { ...PATHS, [key]: "/a,b/x" }), ManifestError, "comma");
    assertThrows(() => denoFlags(manifest, { ...PATHS, [key]: "a/x" }), ManifestError, "absolute");
  }
});

/** Runs the program that checks its own rights with `args`, in the smallest environment that finds the module cache. */
async function excessOf(args: readonly string[]): Promise<string[]> {
  const env: Record<string, string> = {};
  for (const name of ["HOME", "DENO_DIR"]) {
    const value = Deno.env.get(name);
    if (value !== undefined) env[name] = value;
  }
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    env,
    clearEnv: true,
  })
    .output();
  const text = new TextDecoder().decode(stdout);
  assert(text.startsWith("["), `no answer: ${text}${new TextDecoder().decode(stderr)}`);
  return JSON.parse(text);
}

Deno.test("denoFlags() start a program that finds no right it should not have, and finds any one added", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "syncra" });
  try {
    const manifestFile = `${folder}/m.jsonc`;
    const value = smallManifest();
    value.host.limits = { heapMb: 64 };
    Deno.writeTextFileSync(manifestFile, JSON.stringify(value));
    const file = (path: string) => new URL(`../../${path}`, import.meta.url).pathname;
    const { args } = denoFlags(parsed(value), {
      manifestFile,
      configFile: file("deno.json"),
      moduleFile: file("tests/support/rights_program.ts"),
    });
    const withMore = (...more: string[]) => excessOf([args[0]!, ...more, ...args.slice(1)]);
    const replaced = (start: string, more: string) =>
      excessOf(args.map((one) => one.startsWith(start) ? one + more : one));
    const [exact, variable, program, system, foreign, port, neighbour, noDeny, everything] =
      await Promise.all([
        excessOf(args),
        withMore("--allow-env=PATH"),
        withMore("--allow-run"),
        withMore("--allow-sys=hostname"),
        replaced("--allow-read=", ",/etc"),
        replaced("--allow-net=", ",127.0.0.1:4434"),
        replaced("--allow-net=", `,unix:/run/docker.sock`),
        excessOf(args.filter((one) => one !== "--deny-import")),
        excessOf(["run", "-A", "--quiet", ...args.slice(-4)]),
      ]);
    assertEquals(exact, []);
    assertEquals(variable, ["env is granted for PATH, which the manifest does not name"]);
    assertEquals(program.map((one) => one.split(" ")[0]), ["run"]);
    assertEquals(system, ["sys is granted for hostname, which the manifest does not name"]);
    assertEquals(foreign.map((one) => one.split(",")[0]), [
      "read is granted for /etc",
      "read is granted for /etc/passwd",
      "read is granted for /etc/hosts",
    ]);
    assertEquals(port, ["net is granted for 127.0.0.1:4434, which the manifest does not name"]);
    assertEquals(neighbour.length, 1);
    assertEquals(noDeny, ["import is granted for remote hosts; start with --deny-import"]);
    assertEquals(everything.map((one) => one.split(" ")[0]), [
      "read",
      "write",
      "net",
      "env",
      "run",
      "ffi",
      "sys",
      "import",
    ]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("denoFlags() grant a network to a process exactly as the manifest's own check reads it", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "syncra" });
  try {
    const manifestFile = `${folder}/m.jsonc`;
    const value = smallManifest();
    value.host = {
      role: "client",
      engineSocket: "engine.sock",
      connect: ["127.8.0.0/13:4433", "10.1.2.0/31:80"],
    };
    Deno.writeTextFileSync(manifestFile, JSON.stringify(value));
    const manifest = parsed(value);
    const file = (path: string) => new URL(`../../${path}`, import.meta.url).pathname;
    const { args } = denoFlags(manifest, {
      manifestFile,
      configFile: file("deno.json"),
      moduleFile: file("tests/support/rights_program.ts"),
    });
    const hosts = [
      "127.7.255.255:4433",
      "127.8.0.0:4433",
      "127.11.22.33:4433",
      "127.15.255.255:4433",
      "127.16.0.0:4433",
      "127.11.22.33:4434",
      "127.11.22.33",
      "localhost:4433",
      "10.1.1.255:80",
      "10.1.2.0:80",
      "10.1.2.1:80",
      "10.1.2.2:80",
      "10.1.2.1:4433",
    ];
    const wider = args.map((one) => one.replace("127.8.0.0/13:4433", "127.8.0.0/12:4433"));
    const [found, answers, tooWide] = await Promise.all([
      excessOf(args),
      excessOf([...args, ...hosts]),
      excessOf(wider),
    ]);
    assertEquals(found, []);
    const { connect = [] } = manifest.host;
    assertEquals(
      answers,
      hosts.map((host) => connect.some((one) => coversEndpoint(one, host)) ? "granted" : "prompt"),
    );
    assertEquals(answers.filter((one) => one === "granted").length, 5);
    // One bit less of the prefix, and the driver refuses to start.
    assertEquals(tooWide, [
      "net is granted for 127.7.255.255:4433, which the manifest does not name",
    ]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
