// Attempts on the network and on Unix sockets: every way the runtime and its Node layer have to open one, aimed at addresses that the
// manifest does not name.

import dgram from "node:dgram";
import dns from "node:dns/promises";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";
import { type Attempt, firstEvent } from "./attempt.ts";

const HERE = "127.0.0.1";

/** What the Node layer hands out of its insides. */
interface NodeBinding {
  binding(name: "pipe_wrap"): { Pipe: new (type: number) => { bind(path: string): number } };
}

async function sendByNode(port: number): Promise<void> {
  const socket = dgram.createSocket("udp4");
  try {
    await new Promise<void>((resolve, reject) => {
      socket.on("error", reject);
      socket.send("x", port, HERE, (error) => error === null ? resolve() : reject(error));
    });
  } finally {
    await new Promise<void>((done) => {
      try {
        socket.close(() => done());
      } catch {
        done(); // A socket that failed to bind is closed already.
      }
    });
  }
}

async function socketOf(open: () => net.Socket): Promise<void> {
  const socket = open();
  try {
    await firstEvent(socket, "connect", "secureConnect");
  } finally {
    socket.destroy();
  }
}

function opened(target: WebSocket | EventSource): Promise<unknown> {
  return new Promise((resolve, reject) => {
    target.addEventListener("open", resolve, { once: true });
    target.addEventListener("error", (event) => {
      const { message } = event as ErrorEvent;
      reject(new Error(message === undefined ? "error event" : message));
    }, { once: true });
  }).finally(() => target.close());
}

async function fetched(url: string, client?: Deno.HttpClient): Promise<void> {
  try {
    await (await fetch(url, client === undefined ? {} : { client })).text();
  } finally {
    client?.close();
  }
}

/** All of them. */
export const NETWORK_ATTEMPTS: readonly Attempt[] = [
  {
    does: "connecting by TCP to another port",
    run: async (t) => (await Deno.connect({ hostname: HERE, port: t.tcpPort })).close(),
  },
  {
    does: "connecting by TCP to the granted port under another name",
    run: async (t) => (await Deno.connect({ hostname: "localhost", port: t.grantedPort })).close(),
  },
  {
    does: "connecting by TCP to the granted port of another address",
    run: async (t) => (await Deno.connect({ hostname: "127.0.0.2", port: t.tcpPort })).close(),
  },
  {
    does: "connecting by TLS",
    run: async (t) =>
      (await Deno.connectTls({ hostname: "localhost", port: t.tlsPort, caCerts: [t.certPem] }))
        .close(),
  },
  {
    does: "listening on any free TCP port",
    run: () => Deno.listen({ hostname: HERE, port: 0 }).close(),
  },
  {
    does: "listening on all interfaces",
    run: () => Deno.listen({ port: 0 }).close(),
  },
  {
    does: "serving HTTP",
    run: () =>
      Deno.serve({ hostname: HERE, port: 0, onListen() {} }, () => new Response()).shutdown(),
  },
  {
    does: "binding a UDP port",
    run: () => Deno.listenDatagram({ transport: "udp", hostname: HERE, port: 0 }).close(),
  },
  {
    does: "sending UDP by node:dgram",
    run: (t) => sendByNode(t.udpPort),
    refusal: /EPERM|EACCES|NotCapable|UNKNOWN/,
  },
  {
    does: "binding UDP by node:dgram",
    refusal: /EPERM|EACCES|NotCapable|UNKNOWN/,
    run: async () => {
      const socket = dgram.createSocket("udp4");
      const listening = firstEvent(socket, "listening");
      socket.bind(0, HERE);
      await listening;
      socket.close();
    },
  },
  {
    does: "connecting by QUIC to another port",
    run: async (t) => {
      const connection = await Deno.connectQuic({
        hostname: HERE,
        port: t.quicPort,
        serverName: "localhost",
        alpnProtocols: ["escape"],
        caCerts: [t.certPem],
      });
      connection.close();
    },
  },
  {
    does: "opening a QUIC endpoint on any port",
    run: () => new Deno.QuicEndpoint({ hostname: HERE, port: 0 }).close(),
  },
  {
    does: "opening a WebTransport session",
    run: async (t) => {
      const transport = new WebTransport(`https://${HERE}:${t.quicPort}/`);
      transport.closed.catch(() => {});
      // Nobody answers with HTTP/3 on that port: whoever may try gets as far as the handshake.
      await transport.ready.catch((error) => {
        if (/NotCapable|Requires/.test(`${error.name} ${error.message}`)) throw error;
      });
    },
  },
  {
    does: "fetching from another port",
    run: (t) => fetched(`http://${HERE}:${t.httpPort}/`),
  },
  {
    does: "fetching from the granted port what redirects to another",
    run: (t) => fetched(`http://${HERE}:${t.grantedPort}/`),
  },
  {
    does: "fetching from the granted port through a proxy on another",
    run: (t) =>
      fetched(
        `http://${HERE}:${t.grantedPort}/`,
        Deno.createHttpClient({ proxy: { url: `http://${HERE}:${t.httpPort}` } }),
      ),
  },
  {
    does: "fetching from the granted port through a proxy on a Unix socket",
    run: (t) =>
      fetched(
        `http://${HERE}:${t.grantedPort}/`,
        Deno.createHttpClient({ proxy: { transport: "unix", path: t.httpSocket } }),
      ),
  },
  {
    does: "opening a WebSocket",
    run: (t) => opened(new WebSocket(`ws://${HERE}:${t.httpPort}/`)),
  },
  {
    does: "opening an event stream",
    // The event says nothing of the reason; that nothing arrived is counted at the other end.
    refusal: /^Error error event$/,
    run: (t) => opened(new EventSource(`http://${HERE}:${t.httpPort}/events`)),
  },
  {
    does: "resolving a name by a name server of its own",
    run: (t) =>
      Deno.resolveDns("example.org", "A", { nameServer: { ipAddr: HERE, port: t.udpPort } }),
  },
  {
    does: "looking a name up through Node",
    refusal: /EPERM|NotCapable/,
    run: () => dns.lookup("localhost"),
  },
  {
    does: "connecting by node:net",
    run: (t) => socketOf(() => net.connect(t.tcpPort, HERE)),
  },
  {
    does: "listening by node:net",
    refusal: /EPERM|EACCES|NotCapable/,
    run: async () => {
      const server = net.createServer();
      const listening = firstEvent(server, "listening");
      server.listen(0, HERE);
      await listening;
      server.close();
    },
  },
  {
    does: "connecting by node:tls",
    run: (t) =>
      socketOf(() => tls.connect({ host: HERE, port: t.tlsPort, rejectUnauthorized: false })),
  },
  {
    does: "requesting by node:http",
    run: async (t) => {
      const request = http.get(`http://${HERE}:${t.httpPort}/`, { agent: false });
      const response = await firstEvent(request, "response") as http.IncomingMessage;
      response.destroy();
    },
  },
  {
    does: "serving by node:http",
    refusal: /EPERM|EACCES|NotCapable/,
    run: async () => {
      const server = http.createServer();
      const listening = firstEvent(server, "listening");
      server.listen(0, HERE);
      await listening;
      server.close();
    },
  },
  {
    does: "connecting by node:http2",
    run: async (t) => {
      const session = http2.connect(`http://${HERE}:${t.httpPort}`);
      try {
        await firstEvent(session, "connect");
      } finally {
        session.destroy();
      }
    },
  },
  {
    does: "connecting to another Unix socket",
    run: async (t) => (await Deno.connect({ transport: "unix", path: t.otherSocket })).close(),
  },
  {
    does: "connecting to another Unix socket by node:net",
    run: (t) => socketOf(() => net.connect(t.otherSocket)),
  },
  {
    does: "connecting to the engine's socket through a symbolic link",
    run: async (t) =>
      (await Deno.connect({ transport: "unix", path: `${t.folder}/alias.sock` })).close(),
  },
  {
    does: "connecting to an abstract Unix socket",
    run: async (t) =>
      (await Deno.connect({ transport: "unix", path: `\0${t.abstractName}` })).close(),
  },
  {
    does: "listening on another Unix socket",
    run: (t) => Deno.listen({ transport: "unix", path: `${t.folder}/new.sock` }).close(),
  },
  {
    does: "listening on a Unix socket by node:net",
    refusal: /EPERM|EACCES|NotCapable/,
    run: async (t) => {
      const server = net.createServer();
      const listening = firstEvent(server, "listening");
      server.listen(`${t.folder}/new_node.sock`);
      await listening;
      server.close();
    },
  },
  {
    does: "binding a Unix socket by the Node layer's inner pipe",
    run: (t) => {
      const path = `${t.folder}/new_pipe.sock`;
      const { Pipe } = (process as unknown as NodeBinding).binding("pipe_wrap");
      const code = new Pipe(1).bind(path);
      if (code !== 0) throw new Error(`bind returned ${code}`);
      Deno.removeSync(path);
    },
  },
  {
    does: "binding a Unix datagram socket",
    run: (t) => {
      const path = `${t.folder}/new_datagram.sock`;
      Deno.listenDatagram({ transport: "unixpacket", path }).close();
      Deno.removeSync(path);
    },
  },
  {
    does: "connecting to the engine again after start-up",
    late: true,
    run: async (t) => (await Deno.connect({ transport: "unix", path: t.engineSocket })).close(),
  },
  {
    does: "connecting to the engine again by node:net after start-up",
    late: true,
    run: (t) => socketOf(() => net.connect(t.engineSocket)),
  },
];
