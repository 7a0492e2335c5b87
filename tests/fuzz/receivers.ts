// Finds the receive histories of clients' drivers, which nothing outside a driver can name: whoever commits a datagram shows itself. It only
// looks.

import { SnapshotReceiver } from "../../replication/snapshot_receiver.ts";
import type { Connection } from "../../transport/connection.ts";

/** Receivers by the client whose datagram they committed last. */
export class Receivers<Client> {
  readonly #of = new Map<Client, SnapshotReceiver>();
  readonly #commit = SnapshotReceiver.prototype.commit;
  readonly #connectors = new Map<Client, Connection>();
  #current: Client | undefined;

  /** Begins to look; end it with `stop`. */
  constructor() {
    // deno-lint-ignore no-this-alias
    const finder = this;
    SnapshotReceiver.prototype.commit = function (decoded) {
      if (finder.#current !== undefined) finder.#of.set(finder.#current, this);
      finder.#commit.call(this, decoded);
    };
  }

  /** The newest receiver of a client. */
  of(client: Client): SnapshotReceiver | undefined {
    return this.#of.get(client);
  }

  /** The client's end of a connection, so that what is committed on its datagrams is known to be the client's. */
  watch(client: Client, connector: Connection): Connection {
    // With a new connection the driver begins a new history, and has let go of the old one.
    this.#of.delete(client);
    this.#connectors.set(client, connector);
    return {
      start: (handler) =>
        connector.start({
          handleDatagram: (bytes) => {
            this.#current = client;
            handler.handleDatagram(bytes);
            this.#current = undefined;
          },
          handleStream: (stream) => handler.handleStream(stream),
          handleClosed: (info) => handler.handleClosed(info),
        }),
      get maxDatagramSize() {
        return connector.maxDatagramSize;
      },
      sendDatagram: (bytes) => connector.sendDatagram(bytes),
      openStream: () => connector.openStream(),
      close: (code, reason) => connector.close(code, reason),
      get channelBinding() {
        return connector.channelBinding;
      },
      label: connector.label,
    };
  }

  /** Ends the newest connection of a client without its owner's doing. */
  cut(client: Client): void {
    this.#connectors.get(client)?.close(0, "cut");
  }

  /** Looks no more. */
  stop(): void {
    SnapshotReceiver.prototype.commit = this.#commit;
  }
}
