// Records what passes at both ends of every connection of a pair and on every engine socket, and reads it afterwards with the decoders of this
// folder. The recording looks into nothing; the reading asks no core.

import type { Grants } from "../../permissions/grants.ts";
import type { Pair, PairNode } from "../support/pair.ts";
import { tapConnection, type TappedEvent } from "../support/wiretap.ts";
import { DriverEnd } from "./driver_end.ts";
import { EngineEnd } from "./engine_end.ts";
import { type World, worldFromJson } from "./world.ts";

/** Bytes of an engine socket. */
export interface SocketBytes {
  readonly way: "toEngine" | "toDriver";
  readonly bytes: Uint8Array;
  readonly atMs: number;
}

/** One connection, as recorded. */
export interface RecordedLink {
  readonly client: PairNode;
  readonly connector: TappedEvent[];
  readonly acceptor: TappedEvent[];
}

/** One connection, as read. */
export interface ReadLink {
  readonly client: PairNode;
  readonly clientEnd: DriverEnd;
  readonly serverEnd: DriverEnd;
}

/** A pair's traffic; make it before the pair starts. */
export class Recording {
  readonly links: RecordedLink[] = [];
  readonly #sockets = new Map<PairNode, SocketBytes[]>();

  /** Begins to listen. */
  constructor(pair: Pair) {
    const now = () => pair.network.now;
    pair.tap = {
      connection: (client, connector, acceptor) => {
        const link: RecordedLink = { client, connector: [], acceptor: [] };
        this.links.push(link);
        return {
          connector: tapConnection(connector, now, (event) => link.connector.push(event)),
          acceptor: tapConnection(acceptor, now, (event) => link.acceptor.push(event)),
        };
      },
      engineBytes: (node, way, bytes) => {
        let socket = this.#sockets.get(node);
        if (socket === undefined) this.#sockets.set(node, socket = []);
        socket.push({ way, bytes, atMs: now() });
      },
    };
  }

  /** Reads both ends of every connection. */
  readLinks(world: World): ReadLink[] {
    return this.links.map(({ client, connector, acceptor }) => ({
      client,
      clientEnd: readEnd(new DriverEnd(world, false), connector),
      serverEnd: readEnd(new DriverEnd(world, true), acceptor),
    }));
  }

  /** What passed on one engine socket. */
  socketBytes(node: unknown): readonly SocketBytes[] {
    return this.#sockets.get(node as PairNode) ?? [];
  }

  /** Reads one engine socket. */
  readEngine(world: World, node: unknown): EngineEnd {
    const end = new EngineEnd(world);
    for (const { way, bytes, atMs } of this.socketBytes(node)) {
      end.pass(way, bytes, atMs);
    }
    return end;
  }
}

/** Reads one end's events. */
export function readEnd(end: DriverEnd, events: readonly TappedEvent[]): DriverEnd {
  for (const event of events) if (event.kind !== "close") end.pass(event);
  return end;
}

/** The world as a stranger gets it: printed and read again. */
export function strangersWorld(grants: Grants): World {
  return worldFromJson(JSON.stringify(grants));
}
