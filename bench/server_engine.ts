// The engine beside a measured server driver: it listens, hands on what its driver says, and does nothing with the world. It lives in the
// process that measures.

import { type EngineCallbacks, listenForDriver, ReferenceWorld } from "../engine/mod.ts";
import { AVATAR_HZ } from "./fanout_manifest.ts";

/** The server's engine: it only listens, and hands on what its driver says. */
export interface ServerEngine {
  /** Pin and address, once the driver listens. */
  readonly joined: Promise<{ pin: string; listen: string }>;
  /** Rejects when the server can no longer be measured. */
  readonly failed: Promise<never>;
  readonly fail: (reason: string) => void;
  /** The first counters that come at `atMs` or later. */
  statsAfter(atMs: number): Promise<Readonly<Record<string, number>>>;
  close(): Promise<void>;
}

/** Starts it; `callbacks` hear what it has no use for itself. */
export async function startEngine(
  folder: string,
  manifest: string,
  callbacks: EngineCallbacks = {},
): Promise<ServerEngine> {
  const joined = Promise.withResolvers<{ pin: string; listen: string }>();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  let pin = "";
  let wanted: { atMs: number; give: (stats: Readonly<Record<string, number>>) => void } | undefined;
  const link = await listenForDriver({
    socket: `${folder}/engine.sock`,
    manifest,
    world: new ReferenceWorld(),
    flushIntervalMs: 1000 / AVATAR_HZ,
    callbacks: {
      ...callbacks,
      onDriverReady: (hello) => pin = hello.certificateHash,
      onJoined: ({ listen }) => joined.resolve({ pin, listen }),
      onDriverRefused: (reason) => failed.reject(new Error(reason)),
      onDriverLost: (reason) => failed.reject(new Error(`the driver is lost: ${reason}`)),
      onStats: (stats) => {
        if (wanted === undefined || performance.now() < wanted.atMs) return;
        const { give } = wanted;
        wanted = undefined;
        give(stats);
      },
    },
  });
  return {
    joined: Promise.race([joined.promise, failed.promise]),
    failed: failed.promise,
    fail: (reason) => failed.reject(new Error(reason)),
    statsAfter: (atMs) => new Promise((give) => wanted = { atMs, give }),
    close: () => link.close(),
  };
}

/** What `promise` gives, or an error with this reason after `ms`. */
export async function within<T>(ms: number, reason: string, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${reason} after ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
