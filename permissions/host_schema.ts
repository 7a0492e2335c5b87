// The `host` part of the manifest, declared once: what belongs to one driver on one machine and is never sent. It can only take rights
// of the world away; there is no key that adds one. Rules that span several keys are in `host_rules.ts`.

import { z } from "zod";
import {
  DEFAULT_JOIN_BYTES_PER_S,
  DEFAULT_JOIN_MS,
  DEFAULT_MEMORY_MB,
  DEFAULT_PEER_BYTES_PER_S,
  DEFAULT_RETENTION_S,
  MAX_CONNECT_ENDPOINTS,
  MAX_HEAP_MB,
  MAX_JOIN_MS,
  MAX_MEMORY_MB,
  MAX_NAME_BYTES,
  MAX_OVERRIDE_PATHS,
  MAX_PATH_BYTES,
  MAX_PEER_BYTES_PER_S,
  MAX_RETENTION_S,
  MIN_HEAP_MB,
  MIN_MEMORY_MB,
  MIN_PEER_BYTES_PER_S,
} from "../protocol/limits.ts";
import { LOG_LEVELS } from "../protocol/log_codes.ts";

const path = z.string().min(1).max(MAX_PATH_BYTES).regex(
  /^[^\0,]*$/,
  "a path with a comma cannot be named in a permission flag; rename it",
);
const otherPaths = z.array(path).min(1).max(MAX_OVERRIDE_PATHS).optional();
const endpoint = z.string().min(3).max(300);
const taken = z.literal(true);
const fieldsTaken = z.union([taken, z.array(z.string()).min(1)]);
const messageDeny = z.strictObject({
  send: taken.optional().describe("True: nothing of it leaves this host."),
  receive: taken.optional().describe("True: nothing of it enters this host."),
});

/** Where a server's certificate comes from. */
export const certificateSchema = z.union([
  z.strictObject({
    mode: z.literal("development").describe(
      "A self-signed certificate made at start that lives in memory only; its hash goes to the engine.",
    ),
  }),
  z.strictObject({
    certFile: path.describe("PEM file with the certificate chain, leaf first."),
    keyFile: path.describe("PEM file with the private key (PKCS #8)."),
  }),
]);

/** The part of the manifest that belongs to one driver. */
export const hostSchema = z.strictObject({
  role: z.enum(["server", "client", "loopback"]).describe(
    '"server": its engine holds world authority and peers connect to it. "client": connects. "loopback": no network.',
  ),
  engineSocket: path.describe(
    "Unix socket on which the engine listens and to which the driver connects; absolute, or relative to the manifest's folder.",
  ),
  listen: endpoint.optional().describe('Server: address it listens on, such as "127.0.0.1:4433".'),
  connect: z.array(endpoint).min(1).max(MAX_CONNECT_ENDPOINTS).optional().describe(
    'Client: every "host:port" it may ever connect to; the first single one is the default. "10.1.0.0/16:4433" names all IPv4 addresses of a network at one port.',
  ),
  certificate: certificateSchema.optional().describe(
    'Server: {"mode": "development"}, or the PEM files "certFile" and "keyFile".',
  ),
  pin: z.string().regex(/^[0-9a-f]{64}$/, "write 64 lower-case hexadecimal digits").optional()
    .describe(
      "Client: SHA-256 of the server's certificate (DER), 64 lower-case hexadecimal digits.",
    ),
  caFile: path.optional().describe(
    "Client: PEM file of the authority that signed the server's certificate.",
  ),
  overridable: z.strictObject({
    engineSocket: otherPaths.describe("Other sockets, chosen by --engine-socket."),
    certFile: otherPaths.describe("Other certificates, chosen by --cert-file."),
    keyFile: otherPaths.describe("Other keys, chosen by --key-file."),
    caFile: otherPaths.describe("Other authorities, chosen by --ca-file."),
  }).optional().describe(
    "Paths that an argument of a sealed driver may choose instead; each becomes a right of the executable. A driver that is not sealed ignores them.",
  ),
  limits: z.strictObject({
    peerBytesPerSecond: z.int().min(MIN_PEER_BYTES_PER_S).max(MAX_PEER_BYTES_PER_S)
      .default(DEFAULT_PEER_BYTES_PER_S).describe(
        "Bytes of datagrams with state to one peer in any second; one packet more at most.",
      ),
    joinBytesPerSecond: z.int().min(MIN_PEER_BYTES_PER_S).max(MAX_PEER_BYTES_PER_S)
      .default(DEFAULT_JOIN_BYTES_PER_S).describe(
        "Server: bytes a second sent to a peer that has just joined, in place of `peerBytesPerSecond`, until it has all that it may see or `joinMs` is over.",
      ),
    joinMs: z.int().min(0).max(MAX_JOIN_MS).default(DEFAULT_JOIN_MS).describe(
      "Server: longest time for which `joinBytesPerSecond` counts, ms; 0: joins have no budget of their own.",
    ),
    heapMb: z.int().min(MIN_HEAP_MB).max(MAX_HEAP_MB).optional().describe(
      "Bound of the script heap, MB; array buffers are not counted. Left out: the runtime's own.",
    ),
    memoryMb: z.int().min(MIN_MEMORY_MB).max(MAX_MEMORY_MB).optional().describe(
      `Bound of the driver's resident size, MB: one that may need more does not start, see \`check\`. Left out: what it may need, at most ${DEFAULT_MEMORY_MB}.`,
    ),
  }).default({
    peerBytesPerSecond: DEFAULT_PEER_BYTES_PER_S,
    joinBytesPerSecond: DEFAULT_JOIN_BYTES_PER_S,
    joinMs: DEFAULT_JOIN_MS,
  }).describe("Bounds of this host."),
  privacy: z.strictObject({
    retentionSeconds: z.int().min(0).max(MAX_RETENTION_S).default(DEFAULT_RETENTION_S).describe(
      "How long log entries (numbers, never contents) stay in memory; 0: none is written. Nothing is written to disk.",
    ),
    logLevel: z.enum(LOG_LEVELS).default("info").describe(
      "The least important log entries that are written; each level includes those before it.",
    ),
  }).default({ retentionSeconds: DEFAULT_RETENTION_S, logLevel: "info" }).describe(
    "What this host keeps.",
  ),
  deny: z.strictObject({
    components: z.record(
      z.string().max(MAX_NAME_BYTES),
      z.strictObject({
        send: fieldsTaken.optional().describe("True, or the fields that do not leave this host."),
        receive: fieldsTaken.optional().describe(
          "True, or the fields that do not enter this host.",
        ),
      }),
    ).default({}).describe("By component name."),
    events: z.record(z.string().max(MAX_NAME_BYTES), messageDeny).default({}).describe(
      "By event name.",
    ),
    channels: z.record(z.string().max(MAX_NAME_BYTES), messageDeny).default({}).describe(
      "By channel name.",
    ),
    voice: messageDeny.optional().describe("Voice of all entities."),
  }).default({ components: {}, events: {}, channels: {} }).describe(
    "What this host takes away from the rights of the world.",
  ),
});
