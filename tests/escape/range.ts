// The range on which the attempts are made: a folder with secrets, and a listener behind every address that an attempt aims at, each of
// which counts who came. What an attempt does is not known here.

import { createDevelopmentCertificate } from "../../transport/certificate.ts";
import { ROOT } from "../support/run_program.ts";
import type { Targets } from "./attempt.ts";

/** Anything that can be closed. */
type Closer = () => unknown;

const HERE = "127.0.0.1";

/** A folder, its listeners and their counts. */
export class Range {
  readonly targets: Targets;
  /** Connections, requests and datagrams that arrived, by listener. */
  readonly arrivals: Map<string, number>;
  readonly #closers: Closer[];

  private constructor(targets: Targets, arrivals: Map<string, number>, closers: Closer[]) {
    this.targets = targets;
    this.arrivals = arrivals;
    this.#closers = closers;
  }

  /** Makes the folder, opens the listeners and writes the manifest of a server driver. */
  static async create(): Promise<Range> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "esc" }));
    const arrivals = new Map<string, number>();
    const closers: Closer[] = [() => Deno.removeSync(folder, { recursive: true })];
    const count = (what: string) => void arrivals.set(what, (arrivals.get(what) ?? 0) + 1);
    const certificate = await createDevelopmentCertificate();
    const pair = { cert: certificate.certPem, key: certificate.keyPem };

    const tcp = Deno.listen({ hostname: HERE, port: 0 });
    takeAll(tcp, () => count("tcp"), closers);
    // The same port on another address of the machine.
    takeAll(
      Deno.listen({ hostname: "127.0.0.2", port: tcp.addr.port }),
      () => count("tcp"),
      closers,
    );
    const secure = Deno.listenTls({ hostname: HERE, port: 0, ...pair });
    takeAll(secure, () => count("tls"), closers);
    const other = Deno.listen({ transport: "unix", path: `${folder}/other.sock` });
    takeAll(other, () => count("unix"), closers);
    const abstractName = `syncra_escape_${crypto.randomUUID()}`;
    const abstract = Deno.listen({ transport: "unix", path: `\0${abstractName}` });
    takeAll(abstract, () => count("abstract"), closers);
    const web = serve({ hostname: HERE, port: 0 }, () => count("http"), closers);
    serveUnix(`${folder}/http.sock`, () => count("http by unix"), closers);
    const target = `http://${HERE}:${web.port}/`;
    const redirecting = Deno.serve(
      { hostname: HERE, port: 0, onListen() {} },
      () => Response.redirect(target),
    );
    closers.push(() => redirecting.shutdown());
    const udp = answerNames(() => count("udp"), closers);
    const endpoint = new Deno.QuicEndpoint({ hostname: HERE, port: 0 });
    takeQuic(endpoint.listen({ ...pair, alpnProtocols: ["escape"] }), () => count("quic"));
    closers.push(() => endpoint.close());

    const targets: Targets = {
      folder,
      manifest: `${folder}/m.jsonc`,
      engineSocket: `${folder}/engine.sock`,
      otherSocket: `${folder}/other.sock`,
      httpSocket: `${folder}/http.sock`,
      abstractName,
      grantedPort: redirecting.addr.port,
      tcpPort: tcp.addr.port,
      tlsPort: secure.addr.port,
      httpPort: web.port,
      udpPort: (udp.addr as Deno.NetAddr).port,
      quicPort: endpoint.addr.port,
      certPem: certificate.certPem,
    };
    writeFiles(targets);
    return new Range(targets, arrivals, closers);
  }

  /** Names and sizes of everything in the folder, for comparison. */
  inventory(): string[] {
    const found: string[] = [];
    for (const entry of Deno.readDirSync(this.targets.folder)) {
      const { size, mode } = Deno.lstatSync(`${this.targets.folder}/${entry.name}`);
      found.push(`${entry.name} ${mode!.toString(8)} ${entry.isFile ? size : "-"}`);
    }
    return found.sort();
  }

  /** Closes the listeners and removes the folder. */
  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) {
      try {
        await close();
      } catch {
        // What the other end has closed already cannot be closed twice.
      }
    }
  }
}

function writeFiles(t: Targets): void {
  const { folder } = t;
  const room = Deno.readTextFileSync(`${ROOT}examples/room_server.jsonc`)
    .replace("127.0.0.1:4433", `${HERE}:${t.grantedPort}`)
    .replace('"room_server.sock"', JSON.stringify(t.engineSocket))
    .replace(/"\$schema": .*\n/, "");
  Deno.mkdirSync(`${folder}/sub`);
  const files: Record<string, string> = {
    "m.jsonc": `//${JSON.stringify(t)}\n${room}`,
    "secret.txt": "secret",
    "victim.txt": "victim",
    "removable.txt": "removable",
    "sub/variables": "SYNCRA_ESCAPE=1\n",
    "module.js": "export default 1;",
    "module.cjs": "module.exports = 1;",
    "data.json": "{}",
    "worker.js": "postMessage(1);",
    "worker.cjs": 'require("node:worker_threads").parentPort.postMessage(1);',
  };
  for (const [name, text] of Object.entries(files)) {
    Deno.writeTextFileSync(`${folder}/${name}`, text);
  }
  // A WebAssembly module without contents: magic number and version.
  Deno.writeFileSync(`${folder}/empty.wasm`, Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  Deno.symlinkSync(t.manifest, `${folder}/alias.jsonc`);
  Deno.symlinkSync(t.engineSocket, `${folder}/alias.sock`);
}

/** Takes every connection, counts it, and keeps it open until the range closes. */
function takeAll(
  listener: { accept(): Promise<{ close(): void }>; close(): void },
  arrived: () => void,
  closers: Closer[],
): void {
  closers.push(() => listener.close());
  (async () => {
    for (;;) {
      let connection: { close(): void; handshake?(): Promise<unknown> };
      try {
        connection = await listener.accept();
      } catch {
        return;
      }
      arrived();
      connection.handshake?.().catch(() => {});
      closers.push(() => connection.close());
    }
  })();
}

async function takeQuic(listener: Deno.QuicListener, arrived: () => void): Promise<void> {
  try {
    for (;;) {
      const incoming = await listener.incoming();
      arrived();
      Promise.resolve(incoming.accept()).then((one) => one.closed).catch(() => {});
    }
  } catch {
    // The endpoint is closed.
  }
}

function respond(request: Request): Response {
  const path = new URL(request.url).pathname;
  if (request.headers.get("upgrade") === "websocket") {
    return Deno.upgradeWebSocket(request).response;
  }
  const type = path.endsWith(".js")
    ? "text/javascript"
    : path === "/events"
    ? "text/event-stream"
    : "text/plain";
  const body = path === "/worker.js" ? "postMessage(1);" : path === "/events" ? ":\n\n" : "1;";
  return new Response(body, { headers: { "content-type": type } });
}

function serve(
  address: { hostname: string; port: number },
  arrived: () => void,
  closers: Closer[],
): { port: number } {
  const server = Deno.serve({ ...address, onListen() {} }, (request) => {
    arrived();
    return respond(request);
  });
  closers.push(() => server.shutdown());
  return server.addr;
}

function serveUnix(path: string, arrived: () => void, closers: Closer[]): void {
  const server = Deno.serve({ path, onListen() {} }, () => {
    arrived();
    return new Response("1;");
  });
  closers.push(() => server.shutdown());
}

/** A name server that says 127.0.0.1 to every question. */
function answerNames(arrived: () => void, closers: Closer[]): Deno.DatagramConn {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: HERE, port: 0 });
  closers.push(() => socket.close());
  (async () => {
    try {
      for await (const [question, from] of socket) {
        arrived();
        if (question.length < 17) continue;
        // The question's name ends with a zero byte, then come type and class.
        const end = question.indexOf(0, 12) + 5;
        const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];
        const reply = Uint8Array.from([...question.subarray(0, end), ...answer]);
        // Response, recursion available, no error; one question, one answer, nothing else.
        reply.set([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], 2);
        await socket.send(reply, from);
      }
    } catch {
      // Closed.
    }
  })();
  return socket;
}
