// Listens at one end of a connection: everything that its owner sends and is given, in order, with the time. It changes nothing on the way
// and understands nothing of it.

import type {
  Connection,
  ConnectionHandler,
  Stream,
  StreamHandler,
} from "../../transport/connection.ts";

/** One thing that passed. Streams are numbered by opening at this end. */
export type TappedEvent =
  & { readonly atMs: number; readonly way: "in" | "out" }
  & (
    | { readonly kind: "datagram"; readonly bytes: Uint8Array }
    | { readonly kind: "open"; readonly stream: number }
    | { readonly kind: "data"; readonly stream: number; readonly bytes: Uint8Array }
    | { readonly kind: "end"; readonly stream: number }
    | { readonly kind: "reset"; readonly stream: number; readonly code: number }
    | { readonly kind: "close"; readonly code: number; readonly reason: string }
  );

/** What happened, less the time. */
type What<T = TappedEvent> = T extends TappedEvent ? Omit<T, "atMs"> : never;

/** The connection, with every event told to `onEvent` just before it happens. */
export function tapConnection(
  inner: Connection,
  now: () => number,
  onEvent: (event: TappedEvent) => void,
): Connection {
  let streams = 0;
  const tell = (what: What) => onEvent({ atMs: now(), ...what } as TappedEvent);
  return {
    start: (handler) => inner.start(tapHandler(handler)),
    get maxDatagramSize() {
      return inner.maxDatagramSize;
    },
    sendDatagram: (bytes) => {
      tell({ way: "out", kind: "datagram", bytes: bytes.slice() });
      return inner.sendDatagram(bytes);
    },
    openStream: () => {
      const stream = streams++;
      tell({ way: "out", kind: "open", stream });
      return tapStream(inner.openStream(), stream);
    },
    close: (code, reason) => {
      tell({ way: "out", kind: "close", code, reason });
      inner.close(code, reason);
    },
    get channelBinding() {
      return inner.channelBinding;
    },
    label: inner.label,
  };

  function tapHandler(handler: ConnectionHandler): ConnectionHandler {
    return {
      handleDatagram: (bytes) => {
        tell({ way: "in", kind: "datagram", bytes: bytes.slice() });
        handler.handleDatagram(bytes);
      },
      handleStream: (opened) => {
        const stream = streams++;
        tell({ way: "in", kind: "open", stream });
        handler.handleStream(tapStream(opened, stream));
      },
      handleClosed: (info) => {
        tell({ way: "in", kind: "close", code: info.code, reason: info.reason });
        handler.handleClosed(info);
      },
    };
  }

  function tapStream(opened: Stream, stream: number): Stream {
    const tapped = (handler: StreamHandler): StreamHandler => ({
      handleData: (bytes) => {
        tell({ way: "in", kind: "data", stream, bytes: bytes.slice() });
        handler.handleData(bytes);
      },
      handleEnd: () => {
        tell({ way: "in", kind: "end", stream });
        handler.handleEnd();
      },
      handleReset: (code) => {
        tell({ way: "in", kind: "reset", stream, code });
        handler.handleReset(code);
      },
      handleWritable: () => handler.handleWritable(),
    });
    return {
      setHandler: (handler) => opened.setHandler(tapped(handler)),
      write: (bytes) => {
        tell({ way: "out", kind: "data", stream, bytes: bytes.slice() });
        return opened.write(bytes);
      },
      get bufferedBytes() {
        return opened.bufferedBytes;
      },
      end: () => {
        tell({ way: "out", kind: "end", stream });
        opened.end();
      },
      reset: (code) => {
        tell({ way: "out", kind: "reset", stream, code });
        opened.reset(code);
      },
      pause: (paused) => opened.pause(paused),
    };
  }
}
