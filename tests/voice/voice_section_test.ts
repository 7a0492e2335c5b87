import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { makeEntityId } from "../../protocol/entity_id.ts";
import { Fault } from "../../protocol/faults.ts";
import {
  MAX_OPUS_PACKET_BYTES,
  MAX_VOICE_AGE_SUBTICKS,
  MAX_VOICE_FRAMES,
} from "../../protocol/limits.ts";
import { Reader } from "../../protocol/reader.ts";
import {
  isTagOf,
  readVoiceSection,
  type VoiceFrame,
  VoiceKind,
  VoiceSectionWriter,
  voiceTagOf,
} from "../../voice/voice_section.ts";
import { bitFlipsOf, truncationsOf } from "../support/hostile_bytes.ts";

const TIME = 1_000_000;

function encode(frames: readonly VoiceFrame[], time = TIME): Uint8Array<ArrayBuffer> {
  const writer = new VoiceSectionWriter();
  writer.begin(time);
  for (const frame of frames) assert(writer.tryAdd(frame, 100_000));
  assertEquals(writer.count, frames.length);
  return writer.finish();
}

function decode(bytes: Uint8Array, allowSealed = true, time = TIME): VoiceFrame[] | Fault {
  const r = new Reader(bytes);
  return readVoiceSection(r, time, { allowSealed }) ?? r.fault!;
}

function frameOf(changes: Partial<VoiceFrame> = {}): VoiceFrame {
  return {
    kind: VoiceKind.Opus,
    slot: 12,
    generation: 1,
    sequence: 77,
    time: TIME - 20,
    payload: Uint8Array.of(8, 1, 2),
    ...changes,
  };
}

const anyFrame: fc.Arbitrary<VoiceFrame> = fc.record({
  kind: fc.constantFrom(VoiceKind.Opus, VoiceKind.Sealed),
  slot: fc.integer({ min: 1, max: 0xfffff }),
  generation: fc.nat(3),
  sequence: fc.nat(0xffff),
  time: fc.integer({ min: TIME - MAX_VOICE_AGE_SUBTICKS, max: TIME }),
  payload: fc.uint8Array({ minLength: 1, maxLength: 60 }),
});

Deno.test("`readVoiceSection()` gives back what `VoiceSectionWriter` wrote, when frames are random", () => {
  fc.assert(fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 20 }), (frames) => {
    assertEquals(decode(encode(frames)), frames);
  }));
});

Deno.test("`VoiceSectionWriter` spends six bytes on the tag, when slot and age are small", () => {
  assertEquals(encode([frameOf()]).length, 6 + 3);
});

Deno.test("`tryAdd()` leaves the section as it was, when a frame does not fit", () => {
  const writer = new VoiceSectionWriter();
  writer.begin(TIME);
  assert(writer.tryAdd(frameOf(), 12));
  assertEquals(writer.tryAdd(frameOf(), 17), false);
  assertEquals([writer.count, [...writer.finish()]], [1, [...encode([frameOf()])]]);
  assert(writer.tryAdd(frameOf(), 18));
});

Deno.test("`tryAdd()` refuses a frame, when it is older than can be said", () => {
  const writer = new VoiceSectionWriter();
  writer.begin(TIME);
  assert(writer.tryAdd(frameOf({ time: TIME - MAX_VOICE_AGE_SUBTICKS }), 1_000));
  assertEquals(writer.tryAdd(frameOf({ time: TIME - MAX_VOICE_AGE_SUBTICKS - 1 }), 1_000), false);
});

Deno.test("`tryAdd()` sends the datagram's time, when a sample time lies in the future", () => {
  const frames = decode(encode([frameOf({ time: TIME + 9 })]));
  assert(Array.isArray(frames));
  assertEquals(frames[0]!.time, TIME);
});

Deno.test("`tryAdd()` takes so many frames and no more, when a section is full", () => {
  const writer = new VoiceSectionWriter();
  writer.begin(TIME);
  for (let i = 0; i < MAX_VOICE_FRAMES; i++) assert(writer.tryAdd(frameOf(), 10_000));
  assertEquals(writer.tryAdd(frameOf(), 10_000), false);
  const one = encode([frameOf()]);
  const bytes = writer.finish();
  assertEquals((decode(bytes) as VoiceFrame[]).length, MAX_VOICE_FRAMES);
  const more = new Uint8Array(bytes.length + one.length);
  more.set(bytes);
  more.set(one, bytes.length);
  assertEquals(decode(more), Fault.OutOfRange);
});

Deno.test("`readVoiceSection()` refuses a sealed frame, when the world declares none", () => {
  const sealed = encode([frameOf(), frameOf({ kind: VoiceKind.Sealed })]);
  assertEquals(decode(sealed, false), Fault.UnknownKind);
  assertEquals((decode(sealed, true) as VoiceFrame[]).length, 2);
});

Deno.test("`readVoiceSection()` names the fault, when a tag is illegal", () => {
  const forge = (at: number, value: number, time = TIME) => {
    const bytes = encode([frameOf()], TIME);
    bytes[at] = value;
    return decode(bytes, true, time);
  };
  assertEquals(forge(0, 0x32), Fault.UnknownKind);
  assertEquals(forge(0, 0x33), Fault.UnknownKind);
  assertEquals(forge(0, 0x04), Fault.OutOfRange, "no payload");
  assertEquals(forge(1, 0xff), Fault.OutOfRange, "payload above any frame");
  assertEquals(forge(4, 0), Fault.OutOfRange, "slot 0");
  assertEquals(decode(encode([frameOf()]), true, 19), Fault.OutOfRange, "before the start");
  assertEquals(decode(new Uint8Array(0)), Fault.Truncated, "no frame at all");
});

Deno.test("`readVoiceSection()` is truncated, when a section is cut inside a frame", () => {
  const bytes = encode([frameOf({ slot: 70_000, time: TIME - 5_000 })]);
  for (const cut of truncationsOf(bytes)) assertEquals(decode(cut), Fault.Truncated);
});

Deno.test("`readVoiceSection()` accepts one encoding of each section, when bits flip or bytes are random", () => {
  const check = (bytes: Uint8Array) => {
    const frames = decode(bytes);
    if (Array.isArray(frames)) assertEquals([...encode(frames)], [...bytes]);
  };
  const sample = encode([
    frameOf({ payload: new Uint8Array(40).fill(3) }),
    frameOf({ slot: 300, kind: VoiceKind.Sealed, time: TIME - 300 }),
  ]);
  for (const flipped of bitFlipsOf(sample)) check(flipped);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 30 }), check), { numRuns: 2_000 });
});

Deno.test("`isTagOf()` tells a slot's entities apart, when generations follow one another", () => {
  for (let generation = 0; generation < 8; generation++) {
    const frame = frameOf(voiceTagOf(makeEntityId(9, generation)));
    assert(isTagOf(frame, makeEntityId(9, generation)));
    assert(!isTagOf(frame, makeEntityId(9, generation + 1)));
    assert(!isTagOf(frame, makeEntityId(9, generation + 3)));
    assert(!isTagOf(frame, makeEntityId(10, generation)));
  }
});

Deno.test("`tryAdd()` asserts, when our own code passes an empty or oversize frame", () => {
  for (const length of [0, MAX_OPUS_PACKET_BYTES + 1]) {
    const writer = new VoiceSectionWriter();
    assertThrows(
      () => writer.tryAdd(frameOf({ payload: new Uint8Array(length) }), 9_999),
      Error,
      "a frame is bounded",
    );
  }
});
