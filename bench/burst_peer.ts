// An honest peer that is as much trouble as it may be: a real engine with a real driver of its own, which sends everything that its world
// declares at 1.2 times the declared rate, in bursts of what 0.4 s allow. It counts what it sent and what it was denied.

import { launchDriver, type LaunchedDriver } from "../driver/launcher.ts";
import { listenForDriver, type ListeningEngineLink, ReferenceWorld } from "../engine/mod.ts";
import { BADGE_HZ, EVENT_HZ, floodManifest, MESSAGE_HZ } from "./flood_manifest.ts";

/** What comes at once, s of the declared rates. */
const BURST_S = 0.4;
/** How much more than declared it sends in the long run. */
const EXCESS = 1.2;
/** Interval of its flushes, ms. */
const FLUSH_MS = 10;

/** What it did and what became of it, from its own side. */
export interface BurstCount {
  /** Messages sent on the unreliable channel. */
  readonly messages: number;
  /** Events sent. */
  readonly events: number;
  /** Denials by its own engine link or its driver. */
  readonly denials: number;
  /** Times it was out of the world. */
  readonly drops: number;
}

/** Order of calls: `join`, `begin`, `stop`, `close`. */
export class BurstPeer {
  readonly #folder: string;
  #link: ListeningEngineLink | undefined;
  #driver: LaunchedDriver | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  #count = { messages: 0, events: 0, denials: 0, drops: 0 };
  #badge = 0;
  #level = 0;

  /** Its files go into `folder`. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Its peer id. */
  get peer(): number {
    return this.#link?.peer ?? -1;
  }

  /** So far. */
  get count(): BurstCount {
    return { ...this.#count };
  }

  /** Starts engine and driver, and joins. @param n Room of the world. */
  async join(n: number, endpoint: string, pin: string): Promise<void> {
    const manifest = `${this.#folder}/burst.jsonc`;
    const text = floodManifest(n, { role: "client", connect: endpoint });
    await Deno.writeTextFile(manifest, text.replace("engine.sock", "burst.sock"));
    const joined = Promise.withResolvers<void>();
    this.#link = await listenForDriver({
      socket: `${this.#folder}/burst.sock`,
      manifest,
      world: new ReferenceWorld(),
      connect: { url: `quic://${endpoint}`, pin, credential: new Uint8Array(0) },
      flushIntervalMs: FLUSH_MS,
      callbacks: {
        onJoined: () => joined.resolve(),
        onLeft: () => this.#count.drops += 1,
        onDriverLost: (reason) => {
          this.#count.drops += 1;
          joined.reject(new Error(`the ninth peer's driver is lost: ${reason}`));
        },
        // What the server denies, its own engine counts.
        onDenied: ({ door, count }) => {
          if (door !== "remote") this.#count.denials += count;
        },
      },
    });
    this.#driver = launchDriver(manifest, { stdout: "null" });
    await joined.promise;
    this.#badge = this.#link.spawn({ Badge: { level: 0 } });
  }

  /** Sends bursts from now on. */
  begin(): void {
    const link = this.#link!;
    const channel = link.openChannel("telemetry")!;
    this.#timer = setInterval(() => {
      for (let i = 0; i < MESSAGE_HZ * BURST_S; i++) {
        if (channel.send(new Uint8Array(64))) this.#count.messages += 1;
        else this.#count.denials += 1;
      }
      for (let i = 0; i < EVENT_HZ * BURST_S; i++) {
        if (link.sendEvent("Wave", { kind: i })) this.#count.events += 1;
        else this.#count.denials += 1;
      }
      // Of state only the newest value counts; it is handed over as often as the rate would have it.
      for (let i = 0; i < BADGE_HZ * BURST_S; i++) {
        if (!link.set(this.#badge, "Badge", { level: this.#level++ & 0xffff })) {
          this.#count.denials += 1;
        }
        link.flush();
      }
    }, 1000 * BURST_S / EXCESS);
  }

  /** Sends no more. */
  stop(): void {
    clearInterval(this.#timer);
  }

  /** Ends engine and driver. */
  async close(): Promise<void> {
    this.stop();
    await this.#link?.close();
    await this.#driver?.process.status;
  }
}
