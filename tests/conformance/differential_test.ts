// The driver's decoders and those written from the page refuse the same bytes: good traffic of a run, damaged at random. Where they differ, the
// page or the code has a bug. Bytes with several faults may be refused for any of them, as the page says; mostly the names agree, too.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { ComponentAdjustment } from "../../protocol/adjustment.ts";
import { encodeControlFrame } from "../../protocol/control_frames.ts";
import {
  type ControlMessage,
  decodeControl,
  DENIAL_SUBJECTS,
  encodeControl,
} from "../../protocol/control_messages.ts";
import { readHeader, readSections } from "../../protocol/datagram.ts";
import { decodeToDriver, decodeToEngine } from "../../protocol/engine_codec.ts";
import { Fault, faultName } from "../../protocol/faults.ts";
import { Prng } from "../../protocol/prng.ts";
import { Reader } from "../../protocol/reader.ts";
import type { Grants } from "../../permissions/grants.ts";
import { SnapshotReceiver as RealReceiver } from "../../replication/snapshot_receiver.ts";
import { readVoiceSection } from "../../voice/voice_section.ts";
import { CONTROL_SAMPLES } from "../support/control_samples.ts";
import { sampleGrants } from "../support/sample_grants.ts";
import { Malformed, unwrap16 } from "./bits.ts";
import { ControlHalf } from "./control.ts";
import { readDatagram, readVoice } from "./datagram.ts";
import { FrameSplitter, readMessage } from "./engine_link.ts";
import { strangersWorld } from "./recording.ts";
import { playScene, type Scene } from "./scene.ts";
import { SnapshotReceiver } from "./snapshot.ts";

/** The name of the fault that `read` ends with, or "none". */
function faultOf(read: () => unknown): string {
  try {
    read();
    return "none";
  } catch (error) {
    if (error instanceof Malformed) return error.fault;
    throw error;
  }
}

/** A copy with one to three bits flipped, cut short, or with a byte more. */
function damaged(bytes: Uint8Array, prng: Prng): Uint8Array {
  const kind = prng.nextBelow(10);
  if (kind === 0) return bytes.slice(0, prng.nextBelow(bytes.length));
  if (kind === 1) return Uint8Array.from([...bytes, prng.nextBelow(256)]);
  const copy = bytes.slice();
  for (let i = 0; i <= prng.nextBelow(3); i++) {
    // Most of what can go wrong is said near the front.
    const most = prng.chance(0.5) ? Math.min(copy.length, 16) : copy.length;
    const bit = prng.nextBelow(most * 8);
    copy[bit >> 3]! ^= 1 << (bit & 7);
  }
  return copy;
}

/** Two decoders' verdicts, counted; differences are collected with the bytes. */
class Verdicts {
  readonly counts = new Map<string, number>();
  readonly differences: string[] = [];
  #total = 0;
  #named = 0;

  add(ours: string, page: string, bytes: Uint8Array): void {
    this.counts.set(page, (this.counts.get(page) ?? 0) + 1);
    this.#total += 1;
    if (ours === page) this.#named += 1;
    const isSame = (ours === "none") === (page === "none");
    if (isSame || this.differences.length >= 20) return;
    this.differences.push(`driver ${ours}, page ${page}: ${bytes.slice(0, 60).toHex()}`);
  }

  /** Both ways agree, and each of `kinds` came up. */
  check(...kinds: readonly string[]): void {
    assertEquals(this.differences, []);
    assertGreater(this.#named, 0.95 * this.#total);
    for (const kind of kinds) assert(this.counts.has(kind), `${kind} came up`);
  }
}

const scene = playScene(5);
const world = strangersWorld(scene.grants);

/** Datagrams that arrived at one end of one link, in order. */
function arrived(of: Scene, link: number, end: "connector" | "acceptor"): Uint8Array[] {
  return of.recording.links[link]![end].flatMap((event) =>
    event.kind === "datagram" && event.way === "in" ? [event.bytes] : []
  );
}

Deno.test("`readDatagram()` and the driver refuse the same headers and sections, when datagrams are damaged", () => {
  const prng = new Prng(1);
  const verdicts = new Verdicts();
  const driver = (bytes: Uint8Array) => {
    const reader = new Reader(bytes);
    const header = readHeader(reader);
    const sections = header === undefined ? undefined : readSections(reader);
    return sections === undefined ? faultName(reader.fault!) : "none";
  };
  for (const bytes of [...arrived(scene, 0, "connector"), ...arrived(scene, 0, "acceptor")]) {
    assertEquals(driver(bytes), "none");
    for (let i = 0; i < 30; i++) {
      const bad = damaged(bytes, prng);
      verdicts.add(driver(bad), faultOf(() => readDatagram(bad)), bad);
    }
  }
  verdicts.check("none", "Truncated", "UnknownKind", "NonCanonical", "OutOfRange");
});

Deno.test("`readVoice()` and the driver refuse the same voice sections, when they are damaged", () => {
  const prng = new Prng(2);
  const verdicts = new Verdicts();
  const driver = (bytes: Uint8Array) => {
    const reader = new Reader(bytes);
    const frames = readVoiceSection(reader, 1e9, { allowSealed: false });
    return frames === undefined ? faultName(reader.fault!) : "none";
  };
  for (const bytes of arrived(scene, 0, "acceptor")) {
    for (const { type, body } of readDatagram(bytes).sections) {
      if (type !== 2) continue;
      for (let i = 0; i < 60; i++) {
        const bad = damaged(body, prng);
        verdicts.add(driver(bad), faultOf(() => readVoice(bad)), bad);
      }
    }
  }
  verdicts.check("none", "Truncated", "UnknownKind", "NonCanonical", "OutOfRange");
});

/** As the cores make theirs. */
function realReceiver(grants: Grants, way: "down" | "up"): RealReceiver {
  const any = (masks: readonly number[]) => masks.slice(1).reduce((sum, mask) => sum | mask, 0);
  return new RealReceiver({
    grants,
    roleIndex: grants.defaultRole,
    direction: way,
    fieldsAllowed: (c) => {
      const { readMasks, writeMasks, ownerReadMask, authority } = grants.components[c]!;
      if (way === "down") {
        return any(readMasks) | ownerReadMask | grants.components[c]!.grantableRead;
      }
      return authority === "owner" ? any(writeMasks) | grants.components[c]!.grantableWrite : 0;
    },
  });
}

for (const way of ["down", "up"] as const) {
  Deno.test(`\`SnapshotReceiver\` and the driver refuse the same sections ${way}, when they are damaged`, () => {
    const prng = new Prng(way === "down" ? 3 : 4);
    const verdicts = new Verdicts();
    const real = realReceiver(scene.grants, way);
    const page = new SnapshotReceiver(world, way);
    let newest = 0;
    let whole = 0;
    const seen = new Set<number>();
    for (const bytes of arrived(scene, 0, way === "down" ? "connector" : "acceptor")) {
      const datagram = readDatagram(bytes);
      if (seen.has(datagram.sequence)) continue;
      seen.add(datagram.sequence);
      const tick = unwrap16(datagram.tick, newest);
      newest = Math.max(newest, tick);
      const body = datagram.sections.find((s) => s.type === 1)?.body;
      if (body === undefined) continue;
      const driver = (section: Uint8Array) => {
        const reader = new Reader(section);
        return real.decode(reader, tick) === undefined
          ? faultName(reader.fault ?? Fault.NonCanonical)
          : "none";
      };
      const stranger = (section: Uint8Array) =>
        section.length === 0
          ? "Truncated"
          : page.accepts(section, tick, 0) ?? faultOf(() => page.read(section, tick));
      for (let i = 0; i < 40; i++) {
        const bad = damaged(body, prng);
        verdicts.add(driver(bad), stranger(bad), bad);
      }
      assertEquals([driver(body), stranger(body)], ["none", "none"]);
      real.commit(real.decode(new Reader(body), tick)!);
      page.hold(page.read(body, tick), tick);
      whole += 1;
    }
    assertGreater(whole, 60);
    verdicts.check("none", "Truncated", "WrongEpoch", "NonCanonical", "OutOfRange");
    if (way === "down") verdicts.check("UnknownBaseline", "Unexpected", "UnknownId");
    else verdicts.check("Forbidden");
  });
}

Deno.test("`ControlHalf` and the driver refuse the same messages, when they are damaged", () => {
  const prng = new Prng(5);
  const verdicts = new Verdicts();
  const anyWorld = strangersWorld(sampleGrants());
  for (const [direction, message] of CONTROL_SAMPLES) {
    const body = encodeControl(message);
    for (let i = 0; i < 1_000; i++) {
      const bad = damaged(body, prng);
      // An event's payload is judged by another layer of the driver.
      if (bad.length === 0 || bad[0] === 9) continue;
      const result = decodeControl(bad, direction);
      const half = new ControlHalf(anyWorld, direction === "toAuthority" ? "towards" : "from");
      const page = faultOf(() => half.readBody(bad));
      verdicts.add(result.ok ? "none" : faultName(result.fault), page, bad);
    }
  }
  verdicts.check("none", "Truncated", "Trailing", "UnknownKind", "Unexpected", "OutOfRange");
  verdicts.check("Incompatible", "NotUtf8", "NonCanonical");
});

Deno.test("`readMessage()` and the driver refuse the same engine messages, when they are damaged", () => {
  const prng = new Prng(6);
  const verdicts = new Verdicts();
  for (const way of ["toEngine", "toDriver"] as const) {
    const splitter = new FrameSplitter();
    const frames = scene.recording.socketBytes(scene.pair.clients[0]!)
      .filter((part) => part.way === way).flatMap((part) => splitter.read(part.bytes));
    assertGreater(frames.length, 100);
    for (const frame of frames) {
      // Rows are judged against the component's layout, which the driver does behind its decoder.
      const isBatch = frame[1] === 4 || frame[1] === 65;
      for (let i = 0; i < (isBatch ? 0 : 20); i++) {
        const bad = damaged(frame, prng);
        const result = way === "toEngine" ? decodeToEngine(bad) : decodeToDriver(bad);
        const ours = result.ok ? "none" : "refused";
        const fault = faultOf(() => readMessage(bad, way, world));
        verdicts.add(ours, fault === "none" ? "none" : "refused", bad);
      }
    }
  }
  verdicts.check("none", "refused");
});

function adjustmentAsPage({ componentId: component, ...masks }: ComponentAdjustment) {
  return { component, ...masks };
}

/** A control message in the form of the page's decoder. */
function asPage(message: ControlMessage): Record<string, unknown> {
  switch (message.kind) {
    case "join": {
      const { protocolVersion: version, schemaHash, credential, resume } = message;
      const offered = credential === "none" ? 0 : 1;
      return {
        kind: "join",
        version,
        schemaHash: schemaHash.toHex(),
        credential: offered,
        resume,
      };
    }
    case "accepted": {
      const { roleId: role, resumeSecret: secret, entityIds: ids, ...rest } = message;
      return { ...rest, role, secret, ids, adjustments: message.adjustments.map(adjustmentAsPage) };
    }
    case "roster": {
      const joins = message.joins.map(({ peer, roleId: role }) => ({ peer, role }));
      return { kind: "roster", joins, leaves: message.leaves };
    }
    case "role": {
      const { roleId: role, ...rest } = message;
      return { ...rest, role };
    }
    case "grants":
      return { ...message, adjustment: adjustmentAsPage(message.adjustment) };
    case "denied":
      return { ...message, subject: DENIAL_SUBJECTS.indexOf(message.subject) };
    default:
      return { ...message };
  }
}

Deno.test("`ControlHalf` reads what the driver wrote, when samples hold every kind", () => {
  const anyWorld = strangersWorld(sampleGrants());
  const kinds = new Set<string>();
  for (const [direction, message] of CONTROL_SAMPLES) {
    kinds.add(message.kind);
    // The samples' events are of no world; the runs have real ones.
    if (message.kind === "event") continue;
    const half = new ControlHalf(anyWorld, direction === "toAuthority" ? "towards" : "from");
    const framed = encodeControlFrame(encodeControl(message));
    const messages = [...framed].flatMap((byte) => half.read(Uint8Array.of(byte)));
    assertEquals(messages as unknown[], [asPage(message)]);
    assertEquals(half.pendingBytes, 0);
  }
  assertEquals(kinds.size, 13);
});
