// A wire tap on an engine's socket: it listens where the driver connects, passes every frame on to the engine, keeps all bytes of both
// directions, and can slip in frames of its own. The product has no hook for this; the tap is a second process's view of a Unix socket.

import { encodeFrame, FrameBuffer } from "../../protocol/frame_buffer.ts";
import { MAX_ENGINE_FRAME_BYTES } from "../../protocol/limits.ts";

/** Which way a frame goes. */
export type TapDirection = "toEngine" | "toDriver";

/** One tapped engine socket. */
export class SocketTap {
  /** All bytes that passed or were slipped in by nobody: what the two ends said, in order of arrival. */
  readonly bytes: Uint8Array[] = [];
  readonly #listener: Deno.UnixListener;
  readonly #enginePath: string;
  #driver: Deno.UnixConn | undefined;
  #engine: Deno.UnixConn | undefined;
  readonly #injected: Record<TapDirection, Uint8Array[]> = { toEngine: [], toDriver: [] };
  #writes: Record<TapDirection, Promise<void>> = {
    toEngine: Promise.resolve(),
    toDriver: Promise.resolve(),
  };

  /** Listens on `driverPath`, where the driver connects; the engine listens on `enginePath`. */
  constructor(driverPath: string, enginePath: string) {
    this.#enginePath = enginePath;
    this.#listener = Deno.listen({ transport: "unix", path: driverPath });
    this.#accept();
  }

  /** Slips a frame in between two others. */
  inject(direction: TapDirection, body: Uint8Array): void {
    this.#injected[direction].push(encodeFrame(body));
    this.#write(direction, undefined);
  }

  /** Stops listening and cuts what is connected. */
  close(): void {
    for (const closable of [this.#listener, this.#driver, this.#engine]) {
      try {
        closable?.close();
      } catch {
        // Closed by its other end already.
      }
    }
  }

  async #accept(): Promise<void> {
    try {
      for await (const driver of this.#listener) {
        this.#driver = driver;
        this.#engine = await Deno.connect({ transport: "unix", path: this.#enginePath });
        this.#pass(driver, "toEngine");
        this.#pass(this.#engine, "toDriver");
      }
    } catch {
      // The listener was closed.
    }
  }

  async #pass(from: Deno.UnixConn, direction: TapDirection): Promise<void> {
    const frames = new FrameBuffer(MAX_ENGINE_FRAME_BYTES);
    const chunk = new Uint8Array(65_536);
    try {
      for (;;) {
        const count = await from.read(chunk);
        if (count === null) break;
        const bytes = chunk.slice(0, count);
        this.bytes.push(bytes);
        frames.handleBytes(bytes);
        for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
          this.#write(direction, encodeFrame(frame));
        }
      }
    } catch {
      // One end is gone; the other is told below.
    }
    const other = direction === "toEngine" ? this.#engine : this.#driver;
    await this.#writes[direction];
    try {
      other?.close();
    } catch {
      // Gone too.
    }
  }

  #write(direction: TapDirection, frame: Uint8Array | undefined): void {
    const queue = [...this.#injected[direction].splice(0), ...(frame === undefined ? [] : [frame])];
    this.#writes[direction] = this.#writes[direction].then(async () => {
      const to = direction === "toEngine" ? this.#engine : this.#driver;
      for (const bytes of queue) {
        try {
          for (let at = 0; at < bytes.length;) at += await to!.write(bytes.subarray(at));
        } catch {
          return;
        }
      }
    });
  }
}
