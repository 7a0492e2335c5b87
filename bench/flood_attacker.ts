// A process with one attacker: it joins like anybody and then sends datagrams, 10,000 a second, valid or malformed. Dropped, it comes back
// and goes on. Its one argument is an AttackOrder as JSON; on standard input come the words `valid`, `malformed`, `rest` and `quit`, one a
// line, and after each `rest` it answers with one AttackReport on standard output.

import { encodeChannelDatagram } from "../protocol/channel_frames.ts";
import { ControlFrames, encodeControlFrame } from "../protocol/control_frames.ts";
import {
  type AcceptedMessage,
  decodeControl,
  encodeControl,
} from "../protocol/control_messages.ts";
import { SectionType, writeHeader, writeSection } from "../protocol/datagram.ts";
import { CONNECT_TIMEOUT_MS, PROTOCOL_VERSION, RECONNECT_FIRST_MS } from "../protocol/limits.ts";
import { SUBTICKS } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";
import { parseEndpoint } from "../permissions/endpoint.ts";
import type { Connection } from "../transport/connection.ts";
import { connectQuic } from "../transport/quic.ts";
import { MESSAGE_CHANNEL } from "./flood_manifest.ts";
import { textLines } from "./text_lines.ts";

/** What an attacker is told. */
export interface AttackOrder {
  /** The server, `host:port`. */
  readonly endpoint: string;
  /** Pin of its certificate. */
  readonly pin: string;
  /** Hash of the world that it claims to be of. */
  readonly schemaHash: string;
  /** Ticks a second of that world. */
  readonly tickHz: number;
  /** Datagrams a second. */
  readonly rateHz: number;
}

/** What an attacker says of its time between two orders. */
export interface AttackReport {
  /** Datagrams handed to QUIC. */
  readonly sent: number;
  /** Time in which it had a connection to send on, ms. */
  readonly sendingMs: number;
  /** Joins that the server accepted. */
  readonly joins: number;
  /** From the first datagram of a connection until the server had ended it, ms, for each. */
  readonly droppedAfterMs: readonly number[];
}

type Mode = "valid" | "malformed";

/** Most datagrams at once, when its own timer was late. */
const MAX_BURST = 200;
/** Bytes of each message. */
const MESSAGE_BYTES = 100;

/** One joined connection that sends until it is told to stop, or dropped. */
class Attack {
  /** Datagrams handed over. */
  sent = 0;
  readonly #order: AttackOrder;
  readonly #mode: Mode;
  readonly #body = encodeChannelDatagram(
    { channelId: MESSAGE_CHANNEL, name: "", payload: new Uint8Array(MESSAGE_BYTES) },
    false,
  );
  readonly #over = Promise.withResolvers<boolean>();
  #connection: Connection | undefined;
  #accepted: AcceptedMessage | undefined;
  #joinedMs = 0;
  #firstMs = NaN;
  #sequence = 0;
  #isOver = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(order: AttackOrder, mode: Mode) {
    this.#order = order;
    this.#mode = mode;
  }

  /** It was let in. */
  get hasJoined(): boolean {
    return this.#accepted !== undefined;
  }

  /** From its first datagram until now, ms; 0 before it. */
  get sendingMs(): number {
    return Number.isNaN(this.#firstMs) ? 0 : performance.now() - this.#firstMs;
  }

  /** Connects, joins and sends; resolves with whether the server ended it. */
  async run(): Promise<boolean> {
    const { endpoint, pin, schemaHash } = this.#order;
    const { host, port } = parseEndpoint(endpoint)!;
    try {
      this.#connection = await connectQuic({ host, port, pin, timeoutMs: CONNECT_TIMEOUT_MS });
    } catch {
      return false;
    }
    if (this.#isOver) {
      this.#connection.close(0, "");
      return false;
    }
    this.#connection.start({
      handleDatagram: () => {},
      handleStream: () => {},
      handleClosed: ({ by }) => this.#end(by !== "local"),
    });
    const control = this.#connection.openStream();
    const frames = new ControlFrames();
    control.setHandler({
      handleData: (bytes) => {
        frames.handleBytes(bytes);
        for (let frame = frames.pollFrame(); frame !== undefined; frame = frames.pollFrame()) {
          const result = decodeControl(frame, "fromAuthority");
          if (result.ok && result.message.kind === "accepted") this.#begin(result.message);
        }
      },
      handleEnd: () => {},
      handleReset: () => {},
      handleWritable: () => {},
    });
    control.write(encodeControlFrame(encodeControl({
      kind: "join",
      protocolVersion: PROTOCOL_VERSION,
      schemaHash: Uint8Array.fromHex(schemaHash),
      credential: "none",
      resume: undefined,
    })));
    return await this.#over.promise;
  }

  /** Ends it from this side. */
  stop(): void {
    this.#connection?.close(0, "");
    this.#end(false);
  }

  #begin(accepted: AcceptedMessage): void {
    if (this.#isOver) return;
    this.#accepted = accepted;
    this.#joinedMs = performance.now();
    this.#firstMs = performance.now();
    this.#timer = setInterval(() => this.#send(), 1);
  }

  #send(): void {
    const due = Math.floor(this.sendingMs * this.#order.rateHz / 1000);
    for (let i = Math.min(MAX_BURST, due - this.sent); i > 0; i--) {
      if (!this.#connection!.sendDatagram(this.#datagram())) return;
      this.sent += 1;
    }
  }

  #datagram(): Uint8Array {
    const { time, worldEpoch } = this.#accepted!;
    const units = this.#order.tickHz * SUBTICKS / 1000;
    const w = new Writer(256);
    writeHeader(w, {
      sequence: this.#sequence++,
      worldEpoch,
      time: Math.floor(time + (performance.now() - this.#joinedMs) * units),
      ack: undefined,
    });
    writeSection(w, SectionType.Channel, this.#body);
    const bytes = w.finish();
    // Cut inside its section: a length that promises more than comes.
    return this.#mode === "valid" ? bytes : bytes.subarray(0, bytes.length - MESSAGE_BYTES / 2);
  }

  #end(isDropped: boolean): void {
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#over.resolve(isDropped);
  }
}

async function main(order: AttackOrder): Promise<void> {
  let present: Attack | undefined;
  let mode: Mode | undefined;
  let [sent, sendingMs, joins] = [0, 0, 0];
  let droppedAfterMs: number[] = [];
  const fight = async (as: Mode): Promise<void> => {
    while (mode === as) {
      const attack = present = new Attack(order, as);
      const isDropped = await attack.run();
      const lastedMs = attack.sendingMs;
      if (attack.hasJoined) joins += 1;
      if (isDropped && attack.hasJoined) droppedAfterMs.push(Math.round(lastedMs * 10) / 10);
      sent += attack.sent;
      sendingMs += lastedMs;
      if (mode === as) await new Promise((resolve) => setTimeout(resolve, RECONNECT_FIRST_MS));
    }
  };
  let fighting = Promise.resolve();
  for await (const word of textLines(Deno.stdin.readable)) {
    if (word === "valid" || word === "malformed") {
      [sent, sendingMs, joins, droppedAfterMs] = [0, 0, 0, []];
      mode = word;
      fighting = fight(word);
      continue;
    }
    mode = undefined;
    present?.stop();
    await fighting;
    if (word === "quit") break;
    const report: AttackReport = { sent, sendingMs, joins, droppedAfterMs };
    console.log(JSON.stringify(report));
  }
}

if (import.meta.main) {
  await main(JSON.parse(Deno.args[0]!) as AttackOrder);
  setTimeout(() => Deno.exit(0), 100);
}
