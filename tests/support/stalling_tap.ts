// Stands between a driver and its engine, passes bytes on both ways, and can stop reading the driver's for a while: to the driver this is an
// engine that does not read. The engine's own bytes go on.

/** A tapped engine socket. */
export class StallingTap implements AsyncDisposable {
  /** Bytes of the driver that were passed on. */
  passedBytes = 0;
  readonly #listener: Deno.UnixListener;
  readonly #enginePath: string;
  readonly #lives: Promise<void>[] = [];
  readonly #connections: Deno.UnixConn[] = [];
  readonly #accepting: Promise<void>;
  #stall: PromiseWithResolvers<void> | undefined;

  /** Listens on `driverPath`, where the driver connects; the engine listens on `enginePath`. */
  constructor(driverPath: string, enginePath: string) {
    this.#enginePath = enginePath;
    this.#listener = Deno.listen({ transport: "unix", path: driverPath });
    this.#accepting = this.#accept();
  }

  /** Stops reading what the driver says. */
  stall(): void {
    this.#stall ??= Promise.withResolvers<void>();
  }

  /** Reads on. */
  resume(): void {
    this.#stall?.resolve();
    this.#stall = undefined;
  }

  /** Cuts everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    this.#listener.close();
    for (const connection of this.#connections) close(connection);
    await this.#accepting;
    await Promise.all(this.#lives);
  }

  async #accept(): Promise<void> {
    try {
      for await (const driver of this.#listener) {
        const engine = await Deno.connect({ transport: "unix", path: this.#enginePath });
        this.#connections.push(driver, engine);
        this.#lives.push(this.#pass(driver, engine, true), this.#pass(engine, driver, false));
      }
    } catch {
      // The listener was closed.
    }
  }

  async #pass(from: Deno.UnixConn, to: Deno.UnixConn, isDriver: boolean): Promise<void> {
    const chunk = new Uint8Array(65_536);
    try {
      for (;;) {
        if (isDriver) await this.#stall?.promise;
        const count = await from.read(chunk);
        if (count === null) break;
        if (isDriver) this.passedBytes += count;
        for (let at = 0; at < count;) at += await to.write(chunk.subarray(at, count));
      }
    } catch {
      // One end is gone; the other is told below.
    }
    close(to);
  }
}

function close(connection: Deno.UnixConn): void {
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}
