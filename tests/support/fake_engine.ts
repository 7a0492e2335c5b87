// An engine in a test's hand: it listens on a real socket, takes one driver, and says what it is told to, right or wrong.

import { decodeToEngine, encodeToDriver } from "../../protocol/engine_codec.ts";
import type { ToDriver, ToEngine } from "../../protocol/engine_messages.ts";
import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";
import { ENGINE_LINK_VERSION, MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";
import type { Grants } from "../../permissions/grants.ts";

type Kind = ToEngine["kind"];
type OfKind<K extends Kind> = Extract<ToEngine, { kind: K }>;

/** The welcome of an engine that fits `grants`. */
export function welcomeOf(
  grants: Grants,
  fields: Partial<Extract<ToDriver, { kind: "welcome" }>> = {},
): ToDriver {
  return {
    kind: "welcome",
    linkVersion: ENGINE_LINK_VERSION,
    schemaHash: grants.schemaHash,
    connect: undefined,
    resume: new Uint8Array(0),
    nonces: new Uint8Array(0),
    entities: new Uint32Array(0),
    ...fields,
  };
}

/** An engine without a world. */
export class FakeEngine {
  /** Everything the driver said. */
  readonly heard: ToEngine[] = [];
  readonly #listener: Deno.UnixListener;
  readonly #accepted: Promise<Deno.UnixConn>;
  readonly #frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
  readonly #chunk = new Uint8Array(65_536);

  private constructor(path: string) {
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#accepted = this.#listener.accept();
    this.#accepted.catch(() => {});
  }

  /** Listens on `path` while `use` runs. */
  static async listen(path: string, use: (engine: FakeEngine) => Promise<void>): Promise<void> {
    const engine = new FakeEngine(path);
    try {
      await use(engine);
    } finally {
      await engine.#close();
    }
  }

  /** Says something. */
  async say(...messages: readonly ToDriver[]): Promise<void> {
    for (const message of messages) await this.sayBytes(encodeFrame(encodeToDriver(message)));
  }

  /** Sends bytes; a driver that has gone in the meantime does not matter. */
  async sayBytes(bytes: Uint8Array): Promise<void> {
    const connection = await this.#accepted;
    try {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    } catch {
      // The driver ended: that is what most of these tests are after.
    }
  }

  /** Reads until a message of this kind comes. */
  async hear<K extends Kind>(kind: K): Promise<OfKind<K>> {
    for (let next = 0;;) {
      for (; next < this.heard.length; next++) {
        if (this.heard[next]!.kind === kind) return this.heard[next] as OfKind<K>;
      }
      if (!await this.#read()) throw new Error(`the driver ended before it said ${kind}`);
    }
  }

  /** Reads to the end of the link. */
  async drain(): Promise<void> {
    while (await this.#read());
  }

  async #read(): Promise<boolean> {
    const connection = await this.#accepted;
    let count: number | null;
    try {
      count = await connection.read(this.#chunk);
    } catch {
      return false;
    }
    if (count === null) return false;
    this.#frames.handleBytes(this.#chunk.subarray(0, count));
    for (let frame = this.#frames.pollFrame(); frame; frame = this.#frames.pollFrame()) {
      const decoded = decodeToEngine(frame.slice());
      if (!decoded.ok) throw new Error(`the driver sent a frame with fault ${decoded.fault}`);
      this.heard.push(decoded.message);
    }
    return true;
  }

  async #close(): Promise<void> {
    this.#listener.close();
    try {
      (await this.#accepted).close();
    } catch {
      // No driver ever came.
    }
  }
}
