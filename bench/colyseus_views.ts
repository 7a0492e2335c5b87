// What @colyseus/schema needs for the same work as `views`: entities that all move, viewers with a StateView each over those near them. Plain
// 32-bit floats, as its users declare them; its reliable channel needs no headers or acknowledgements of its own, and none are counted.

import { Encoder, schema, type SchemaType, StateView, t } from "@colyseus/schema";
import { Prng } from "../protocol/prng.ts";
import { CpuMeter } from "./cpu_meter.ts";
import { CROWD_HZ, CrowdMotion } from "./crowd.ts";
import { VIEWS, viewsPlaces } from "./views.ts";

const Transform = schema({
  x: t.float32(),
  y: t.float32(),
  z: t.float32(),
  qx: t.float32(),
  qy: t.float32(),
  qz: t.float32(),
  qw: t.float32(),
}, "Transform");
const State = schema({ entities: t.map(Transform).view() }, "State");
const FIELDS = ["x", "y", "z", "qx", "qy", "qz", "qw"] as const;
/** Bytes of its shared buffer: more than all views of a tick take. */
const BUFFER_BYTES = 8 * 1024 * 1024;

/** What it took. */
export interface RivalFigures {
  /** Processor time of encoding one tick for all viewers, ms. */
  readonly msPerTick: number;
  /** Bytes to one viewer in a tick. */
  readonly bytesPerClient: number;
}

/** Runs the scene of `views` through it: as many ticks that warm up as are measured. */
export function colyseusViews(ticks: number, seed: number): RivalFigures {
  const { places } = viewsPlaces(0);
  const motion = new CrowdMotion(places, new Prng(seed).fork());
  Encoder.BUFFER_SIZE = BUFFER_BYTES;
  const state = new State();
  const encoder = new Encoder(state);
  const entities: SchemaType<typeof Transform>[] = places.map((_, i) => {
    const entity = new Transform();
    state.entities.set(String(i), entity);
    return entity;
  });
  const move = (tick: number): void => {
    motion.at(tick / CROWD_HZ);
    entities.forEach((entity, i) => {
      for (let f = 0; f < FIELDS.length; f++) {
        entity[FIELDS[f]!] = motion.rows[i * FIELDS.length + f]!;
      }
    });
  };
  move(0);
  const views = places.slice(0, VIEWS.viewers).map(([x, z]) => {
    const view = new StateView();
    const distance = ([px, pz]: readonly [number, number]) => Math.hypot(px - x, pz - z);
    const nearest = places.map((_, i) => i)
      .sort((a, b) => distance(places[a]!) - distance(places[b]!));
    for (const i of nearest.slice(0, VIEWS.visible)) view.add(entities[i]!);
    return view;
  });
  const meter = new CpuMeter();
  let bytes = 0;
  const encode = (isMeasured: boolean): void => {
    if (isMeasured) meter.start();
    const it = { offset: 0 };
    encoder.encode(it);
    const shared = it.offset;
    for (const view of views) {
      const packet = encoder.encodeView(view, shared, it);
      if (isMeasured) bytes += packet.length;
    }
    encoder.discardChanges();
    if (isMeasured) meter.stop();
  };
  for (let tick = 1; tick <= 2 * ticks; tick++) {
    move(tick);
    encode(tick > ticks);
  }
  return { msPerTick: meter.meanMs, bytesPerClient: bytes / ticks / views.length };
}
