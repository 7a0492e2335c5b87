// The recorded motion and voice in examples/data, as the demo, the tests and the benchmarks play them. Layouts: examples/data/README.md.

/** Frames a second of the motion clips. */
export const CLIP_HZ = 60;
/** Floats of one frame: body, head, left hand, right hand; each x, y, z and a unit quaternion x, y, z, w. */
export const FRAME_FLOATS = 28;
/** Length of one voice packet, ms. */
export const VOICE_PACKET_MS = 20;

/** Names of the clips: subject and trial of the CMU motion capture database. */
export const CLIP_NAMES = ["01_01", "01_05", "02_05", "02_07", "02_10", "03_03"] as const;

/** One recorded clip. */
export interface MotionClip {
  /** Its name. */
  readonly name: string;
  /** Frames in it. */
  readonly frameCount: number;
  /** `frameCount * FRAME_FLOATS` floats. */
  readonly floats: Float32Array;
}

const DATA = new URL("./data/", import.meta.url);

/** Reads one clip. */
export function readClip(name: string): MotionClip {
  const bytes = Deno.readFileSync(new URL(`motion/${name}.f32`, DATA));
  const floats = new Float32Array(bytes.buffer, 0, bytes.length >>> 2);
  return { name, frameCount: floats.length / FRAME_FLOATS, floats };
}

/** Reads all clips. */
export function readClips(): MotionClip[] {
  return CLIP_NAMES.map(readClip);
}

/** Reads the recorded voice as Opus packets of 20 ms. */
export function readVoicePackets(): Uint8Array[] {
  const bytes = Deno.readFileSync(new URL("voice/jfk.packets", DATA));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const packets: Uint8Array[] = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    const length = view.getUint16(at, true);
    packets.push(bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return packets;
}

/** An avatar's pose as the demo's `Avatar` component has it. */
export interface AvatarPose {
  body: number[];
  bodyRotation: number[];
  head: number[];
  headRotation: number[];
  leftHand: number[];
  leftHandRotation: number[];
  rightHand: number[];
  rightHandRotation: number[];
}

const PARTS = ["body", "head", "leftHand", "rightHand"] as const;

/**
 * The pose of a clip at a frame (it runs forwards and backwards for ever), moved to stand around `offset` (x, z in metres).
 * The clip's own walk about is kept; its starting place is not.
 */
export function poseAt(
  clip: MotionClip,
  frame: number,
  offset: readonly [number, number],
): AvatarPose {
  const last = clip.frameCount - 1;
  const phase = frame % (2 * last);
  const at = (phase <= last ? phase : 2 * last - phase) * FRAME_FLOATS;
  const { floats } = clip;
  const pose: Partial<AvatarPose> = {};
  PARTS.forEach((part, i) => {
    const start = at + i * 7;
    pose[part] = [
      floats[start]! - floats[0]! + offset[0],
      floats[start + 1]!,
      floats[start + 2]! - floats[2]! + offset[1],
    ];
    pose[`${part}Rotation`] = [
      floats[start + 3]!,
      floats[start + 4]!,
      floats[start + 5]!,
      floats[start + 6]!,
    ];
  });
  return pose as AvatarPose;
}
