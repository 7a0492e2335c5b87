// The cubes benchmark: bits of a changed cube in Fiedler's scene, by the product's senders and by the packer of his article, both against
// state acknowledged six frames before; what of it is true at loss; and what a link costs on which nothing moves any more.

import type { Options, OptionSpec } from "../driver/arguments.ts";
import type { Grants } from "../permissions/grants.ts";
import { DATAGRAM_HEADER_BYTES, KEEP_ALIVE_MS, MIN_DATAGRAM_BYTES } from "../protocol/limits.ts";
import { assert } from "../protocol/assert.ts";
import { SECTION_HEADER_BYTES } from "../protocol/datagram.ts";
import { makeEntityId } from "../protocol/entity_id.ts";
import { faultName } from "../protocol/faults.ts";
import { Prng } from "../protocol/prng.ts";
import { Reader } from "../protocol/reader.ts";
import { SUBTICKS } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";
import type { InterestResult } from "../replication/interest.ts";
import { dequantiseField } from "../replication/quantise.ts";
import { type DecodedSnapshot, SnapshotReceiver } from "../replication/snapshot_receiver.ts";
import { SnapshotSender } from "../replication/snapshot_sender.ts";
import { createValue } from "../replication/value.ts";
import { World } from "../replication/world.ts";
import { rounded } from "./cpu_meter.ts";
import { packCubes } from "./cubes_control.ts";
import { CUBES, CUBES_HZ, cubesGrants, CubesScene, LANES } from "./cubes_scene.ts";
import { SimRoom } from "./sim_room.ts";

/** Frames from a snapshot to the first that builds on its acknowledgement. */
const BASELINE_FRAMES = 6;
/** Share of the datagrams, and of their acknowledgements, that the lossy run loses. */
const LOSS = 0.05;
/** Bytes of IPv4 and UDP around each packet, and of QUIC round one datagram, as `fanout` counts them. */
const PACKET_BYTES = 28 + 28;
/** Bytes of a datagram's own header with one run acknowledged, and of the frame of its section. */
const OWN_BYTES = 11 + SECTION_HEADER_BYTES;
/** Bytes that the packer's article counts for a packet: its own header, IPv4 and UDP. */
const CONTROL_PACKET_BYTES = 5 + 28;
/** Frames in which everyone hears of all cubes before anything moves, and in which the player gets going. */
const SETTLE_FRAMES = 60;
const START_FRAMES = 120;
/** Time, ms, in which a link comes to rest, and in which it is watched then. */
const REST_MS = 3_000;
const IDLE_MS = 20_000;
const PEER = 1;

/** How the measurement is made. */
export interface CubesOptions {
  /** Frames measured in each run. */
  readonly frames: number;
  /** Seed of the player and of the loss. */
  readonly seed: number;
}

/** What was found; README.md of this folder explains each key. */
export interface CubesFigures {
  readonly name: "cubes";
  readonly bits_per_changed_cube: number;
  readonly bits_loss5: number;
  readonly control_bits: number;
  readonly control_bits_loss5: number;
  readonly kbps: number;
  readonly control_kbps: number;
  readonly changed_cubes: number;
  readonly datagrams_checked: number;
  readonly idle_kbps: number;
}

/** Options of the command line. */
export const CUBES_OPTIONS: readonly OptionSpec[] = [
  {
    name: "frames",
    kind: "integer",
    value: "N",
    help: "frames measured in each run",
    preset: 1_200,
    min: 30,
    max: 1_000_000,
  },
  { name: "seed", kind: "integer", value: "S", help: "decides what the player does", preset: 1 },
];

/** Measures, and prints the figures as the last line. */
export async function runCubes(options: Options, print: (line: string) => void): Promise<void> {
  print(`${CUBES} cubes at ${CUBES_HZ} Hz, against state of ${BASELINE_FRAMES} frames before`);
  const order = { frames: options.integer("frames"), seed: options.integer("seed") };
  print(JSON.stringify(await measureCubes(order, print)));
}

/** Measures everything. */
export async function measureCubes(
  options: CubesOptions,
  log: (line: string) => void,
): Promise<CubesFigures> {
  const grants = cubesGrants();
  const clean = await run(grants, options, 0, log);
  const lossy = await run(grants, options, LOSS, log);
  const idle = idleKbps(grants, clean.resting, options.seed, log);
  return {
    name: "cubes",
    bits_per_changed_cube: rounded(clean.link.bits / clean.link.cubes, 2),
    bits_loss5: rounded(lossy.link.bits / lossy.link.cubes, 2),
    control_bits: rounded(clean.control.bits / clean.control.cubes, 2),
    control_bits_loss5: rounded(lossy.control.bits / lossy.control.cubes, 2),
    kbps: rounded(clean.kbps, 1),
    control_kbps: rounded(clean.controlKbps, 1),
    changed_cubes: rounded(clean.control.cubes / options.frames, 1),
    datagrams_checked: clean.link.checked + lossy.link.checked,
    idle_kbps: rounded(idle, 3),
  };
}

/** What was sent in one run. */
interface RunResult {
  readonly link: CubeLink;
  readonly control: CubeControl;
  readonly kbps: number;
  readonly controlKbps: number;
  /** All cubes as the run left them. */
  readonly resting: Int32Array;
}

async function run(
  grants: Grants,
  { frames, seed }: CubesOptions,
  loss: number,
  log: (line: string) => void,
): Promise<RunResult> {
  const scene = await CubesScene.create(grants, seed);
  const prng = new Prng(seed);
  const link = new CubeLink(grants, scene.lanes, loss, prng.fork());
  const control = new CubeControl(scene.lanes, loss, prng.fork());
  const total = SETTLE_FRAMES + START_FRAMES + frames;
  for (let frame = 1; frame <= total; frame++) {
    if (frame > SETTLE_FRAMES) scene.step();
    if (frame === SETTLE_FRAMES + START_FRAMES + 1) {
      link.clear();
      control.clear();
    }
    link.step(scene.lanes, frame);
    control.step(scene.lanes);
  }
  scene.free();
  const kbps = (bits: number, packets: number, bytes: number) =>
    (bits + packets * bytes * 8) / frames * CUBES_HZ / 1000;
  const result = {
    link,
    control,
    kbps: kbps(link.bits, link.datagrams, OWN_BYTES + PACKET_BYTES),
    controlKbps: kbps(control.bits, frames, CONTROL_PACKET_BYTES),
    resting: scene.lanes.slice(),
  };
  const share = (100 * loss).toFixed(0);
  log(
    `  at ${share} % loss: ${(link.bits / link.cubes).toFixed(2)} bits a changed cube, ${
      (link.cubes / frames).toFixed(1)
    } cubes and ${(link.datagrams / frames).toFixed(2)} datagrams a frame, ${
      result.kbps.toFixed(0)
    } kbit/s (${kbps(0, link.datagrams, OWN_BYTES).toFixed(0)} our headers, ${
      kbps(0, link.datagrams, PACKET_BYTES).toFixed(0)
    } QUIC, UDP and IP)`,
  );
  log(
    `    the article's packer: ${(control.bits / control.cubes).toFixed(2)} bits, ${
      (control.cubes / frames).toFixed(1)
    } cubes a frame, ${result.controlKbps.toFixed(0)} kbit/s`,
  );
  return result;
}

/** The product's sender and receiver with a path of six frames between them. */
export class CubeLink {
  /** Bits of all sections, cubes in them, datagrams, and datagrams that decoded from acknowledged data alone. */
  bits = 0;
  cubes = 0;
  datagrams = 0;
  checked = 0;
  readonly #grants: Grants;
  readonly #world: World;
  readonly #sender: SnapshotSender;
  readonly #receiver: SnapshotReceiver;
  /** Holds what the sender knows to be held, and nothing else. */
  readonly #known: SnapshotReceiver;
  readonly #candidates: InterestResult;
  readonly #sent: Int32Array;
  readonly #underWay: { readonly frame: number; readonly sequence: number; bytes?: Uint8Array }[] =
    [];
  readonly #writer = new Writer(2_048);
  readonly #loss: number;
  readonly #prng: Prng;
  #sequence = 0;

  /** A link over which nothing went, and a world of cubes at rest. */
  constructor(grants: Grants, lanes: Int32Array, loss: number, prng: Prng) {
    this.#grants = grants;
    this.#loss = loss;
    this.#prng = prng;
    this.#world = new World(grants);
    this.#sent = lanes.slice();
    const component = grants.components[0]!;
    const value = createValue(component);
    for (let i = 0; i < CUBES; i++) {
      const id = makeEntityId(i + 1, 0);
      value.lanes.set(lanes.subarray(i * LANES, (i + 1) * LANES));
      this.#world.spawn(id, 0, 0);
      this.#world.addComponent(id, component.index, value, 0, 0);
    }
    const peer = { grants, peer: PEER, roleIndex: grants.defaultRole };
    this.#sender = new SnapshotSender({ ...peer, world: this.#world, direction: "down" });
    this.#sender.setRttTicks(BASELINE_FRAMES);
    // As the driver's link does on a path on which it sees losses.
    this.#sender.isLossy = loss > 0;
    this.#receiver = new SnapshotReceiver({ ...peer, direction: "down" });
    this.#known = new SnapshotReceiver({ ...peer, direction: "down" });
    this.#candidates = {
      count: CUBES,
      slots: Int32Array.from({ length: CUBES }, (_, i) => i + 1),
      distanceSquared: new Float64Array(CUBES),
    };
  }

  /** Begins to count anew. */
  clear(): void {
    this.bits =
      this.cubes =
      this.datagrams =
      this.checked =
        0;
  }

  /** One frame: cubes that changed enter the world, sections go out, acknowledgements of six frames before have come. */
  step(lanes: Int32Array, frame: number): void {
    this.#write(lanes, frame);
    this.#settle(frame);
    this.#sender.updateView(frame, this.#candidates);
    const room = MIN_DATAGRAM_BYTES - DATAGRAM_HEADER_BYTES - SECTION_HEADER_BYTES;
    for (;;) {
      const w = this.#writer;
      w.clear();
      const sequence = this.#sequence;
      if (!this.#sender.writeSection(w, room * 8, frame, sequence)) break;
      this.#sequence += 1;
      this.bits += w.bitLength;
      this.datagrams += 1;
      this.#check(w.finish(), frame, sequence);
    }
    this.#world.expire(frame);
  }

  #write(lanes: Int32Array, frame: number): void {
    const component = this.#grants.components[0]!;
    const value = createValue(component);
    for (let i = 0; i < CUBES; i++) {
      const now = lanes.subarray(i * LANES, (i + 1) * LANES);
      if (now.every((lane, k) => lane === this.#sent[i * LANES + k])) continue;
      this.#sent.set(now, i * LANES);
      value.lanes.set(now);
      const id = makeEntityId(i + 1, 0);
      const { index, allFields } = component;
      this.#world.write(id, index, allFields, value, frame, frame * SUBTICKS);
    }
  }

  /** What was sent six frames before is acknowledged now, or lost. */
  #settle(frame: number): void {
    while (this.#underWay.length > 0 && this.#underWay[0]!.frame + BASELINE_FRAMES <= frame) {
      const { bytes, sequence, frame: sentFrame } = this.#underWay.shift()!;
      if (bytes === undefined) {
        this.#sender.handleLost(sequence);
        continue;
      }
      this.#sender.handleAcked(sequence);
      this.#known.commit(decode(this.#known, bytes, sentFrame));
    }
  }

  /** A datagram goes: whatever becomes of it, it must say the world's state to one who holds nothing but what is known to be held. */
  #check(bytes: Uint8Array, frame: number, sequence: number): void {
    const decoded = decode(this.#known, bytes, frame);
    for (let k = 0; k < decoded.count; k++) {
      const { kind, id, value } = decoded.entries[k]!;
      if (kind === "header") continue;
      this.cubes += 1;
      const at = ((id & 0xfffff) - 1) * LANES;
      for (let lane = 0; lane < LANES; lane++) {
        assert(value.lanes[lane] === this.#sent[at + lane], "what was decoded is the cube's state");
      }
    }
    this.checked += 1;
    const isLost = this.#prng.chance(this.#loss);
    if (!isLost) this.#receiver.commit(decode(this.#receiver, bytes, frame));
    const isKnown = !isLost && !this.#prng.chance(this.#loss);
    this.#underWay.push(isKnown ? { frame, sequence, bytes } : { frame, sequence });
  }
}

function decode(receiver: SnapshotReceiver, bytes: Uint8Array, frame: number): DecodedSnapshot {
  const reader = new Reader(bytes);
  const decoded = receiver.decode(reader, frame);
  if (decoded === undefined) throw new Error(`frame ${frame}: ${faultName(reader.fault!)}`);
  return decoded;
}

/** The article's packer with a path of six frames: one packet a frame, against the newest snapshot that is acknowledged. */
class CubeControl {
  bits = 0;
  cubes = 0;
  readonly #loss: number;
  readonly #prng: Prng;
  readonly #writer = new Writer(16_384);
  #base: Int32Array;
  /** Snapshots of the last frames; `undefined` for one that is not acknowledged. */
  readonly #underWay: (Int32Array | undefined)[] = [];

  constructor(lanes: Int32Array, loss: number, prng: Prng) {
    this.#base = lanes.slice();
    this.#loss = loss;
    this.#prng = prng;
  }

  clear(): void {
    this.bits = this.cubes = 0;
  }

  step(lanes: Int32Array): void {
    if (this.#underWay.length === BASELINE_FRAMES) {
      this.#base = this.#underWay.shift() ?? this.#base;
    }
    this.#writer.clear();
    this.cubes += packCubes(this.#writer, lanes, this.#base);
    this.bits += this.#writer.bitLength;
    const isKnown = !this.#prng.chance(this.#loss) && !this.#prng.chance(this.#loss);
    this.#underWay.push(isKnown ? lanes.slice() : undefined);
  }
}

/** What a real server and a real client send each other, headers and keep-alive included, while no cube moves; kbit/s to the client. */
function idleKbps(
  grants: Grants,
  lanes: Int32Array,
  seed: number,
  log: (line: string) => void,
): number {
  const room = new SimRoom({ grants, clients: 1, seed, conditions: { latencyMs: 50 } });
  let held = 0;
  room.clients[0]!.onMessage = (message) => {
    if (message.kind === "batch") held += message.spawns.length;
  };
  room.start();
  const component = grants.components[0]!;
  const handles = Uint32Array.from({ length: CUBES }, (_, i) => i + 1);
  room.server.hand(
    component.id,
    component.allFields,
    handles,
    cubeRows(grants, lanes),
    handles,
    new Uint32Array(CUBES),
  );
  room.until("the client has all cubes", () => held === CUBES, 20_000);
  room.run(REST_MS);
  const read = () => {
    const { counters } = room.server.core;
    const get = (name: string) => counters.get(name);
    return ["net.bytesOut", "net.datagramsOut", "net.bytesIn", "net.datagramsIn"].map(get);
  };
  const before = read();
  room.run(IDLE_MS);
  const [bytesOut, packetsOut, bytesIn, packetsIn] = read().map((now, i) => now - before[i]!);
  const kbps = (bytes: number, packets: number) => {
    // Where nothing else goes, QUIC sends a packet by itself, so that the connection stays open.
    const keepAlive = Math.max(0, IDLE_MS / KEEP_ALIVE_MS - packets);
    return (bytes + (packets + keepAlive) * PACKET_BYTES) * 8 / IDLE_MS;
  };
  log(
    `  at rest: ${packetsOut! / IDLE_MS * 1000} datagrams a second to the client and ${
      packetsIn! / IDLE_MS * 1000
    } from it; with keep-alive and headers ${kbps(bytesOut!, packetsOut!).toFixed(2)} and ${
      kbps(bytesIn!, packetsIn!).toFixed(2)
    } kbit/s`,
  );
  return kbps(bytesOut!, packetsOut!);
}

/** All cubes as rows of the engine link. */
function cubeRows(grants: Grants, lanes: Int32Array): Uint8Array {
  const { rowBytes, fields } = grants.components[0]!;
  const rows = new Uint8Array(CUBES * rowBytes);
  const view = new DataView(rows.buffer);
  const numbers = new Float64Array(4);
  for (let i = 0; i < CUBES; i++) {
    for (const field of fields) {
      const at = i * rowBytes + field.rowOffset;
      dequantiseField(field, lanes, i * LANES + field.laneOffset, numbers, 0);
      if (field.kind === "bool") view.setUint8(at, numbers[0]!);
      else {for (let k = 0; k < (field.kind === "vec3" ? 3 : 4); k++) {
          view.setFloat32(at + 4 * k, numbers[k]!, true);
        }}
    }
  }
  return rows;
}
