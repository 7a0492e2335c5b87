import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { VoiceGrant } from "../../permissions/grants.ts";
import { AudibleSet, canHear, canSpeak, isWithinRange } from "../../voice/audible.ts";

const VOICE: VoiceGrant = {
  speakRoles: 0b0110,
  hearRoles: 0b1010,
  range: 10,
  maxFrameBytes: 1_275,
  rateHz: 50,
  hostSend: true,
  hostReceive: true,
};

function hearersOf(set: AudibleSet, speaker: number, role: number, mouth?: number[]): number[] {
  const out = [99];
  set.hearersOf(speaker, role, mouth, out);
  return out.sort((a, b) => a - b);
}

Deno.test("`canSpeak()` and `canHear()` follow the role masks, when each role is asked", () => {
  assertEquals([0, 1, 2, 3].map((role) => canSpeak(VOICE, role)), [false, true, true, false]);
  assertEquals([0, 1, 2, 3].map((role) => canHear(VOICE, role)), [false, true, false, true]);
});

Deno.test("`isWithinRange()` includes the edge and nothing beyond, when distances are exact", () => {
  assertEquals(isWithinRange(VOICE, [0, 0, 0], [6, 8, 0]), true);
  assertEquals(isWithinRange(VOICE, [0, 0, 0], [6, 8, 0.01]), false);
  assertEquals(isWithinRange(VOICE, [5, 5, 5], [5, 5, 5]), true);
});

Deno.test("`isWithinRange()` is false, when a position is missing or not finite", () => {
  for (const broken of [[], [0, 0], [NaN, 0, 0], [0, Infinity, 0], [-Infinity, 0, 0]]) {
    assertEquals(isWithinRange(VOICE, broken, [0, 0, 0]), false);
    assertEquals(isWithinRange(VOICE, [0, 0, 0], broken), false);
    assertEquals(isWithinRange(VOICE, broken, broken), false);
  }
});

Deno.test("`hearersOf()` names exactly those in range who may hear, when listeners are random", () => {
  const place = fc.option(
    fc.tuple(...[0, 1, 2].map(() => fc.double({ min: -12, max: 12, noNaN: true }))),
    { nil: undefined },
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.record({ peer: fc.nat(200), role: fc.nat(3), place }), {
        selector: (l) => l.peer,
        maxLength: 30,
      }),
      fc.nat(200),
      fc.nat(3),
      place,
      (listeners, speaker, role, mouth) => {
        const set = new AudibleSet(VOICE);
        for (const l of listeners) set.setListener(l.peer, l.role, l.place);
        const expected = listeners.filter((l) =>
          mouth !== undefined && l.place !== undefined && l.peer !== speaker &&
          (role === 1 || role === 2) && (l.role === 1 || l.role === 3) &&
          (l.place[0]! - mouth[0]!) ** 2 + (l.place[1]! - mouth[1]!) ** 2 +
                (l.place[2]! - mouth[2]!) ** 2 <= 100
        ).map((l) => l.peer).sort((a, b) => a - b);
        assertEquals(hearersOf(set, speaker, role, mouth), expected);
      },
    ),
  );
});

Deno.test("`setListener()` takes the newest place and role, when a peer moves or changes", () => {
  const set = new AudibleSet(VOICE);
  set.setListener(4, 1, [0, 0, 0]);
  assertEquals(hearersOf(set, 5, 1, [0, 0, 1]), [4]);
  assertEquals(hearersOf(set, 4, 1, [0, 0, 1]), [], "nobody hears itself");
  set.setListener(4, 1, [0, 0, 12]);
  assertEquals(hearersOf(set, 5, 1, [0, 0, 1]), []);
  set.setListener(4, 1, [0, 0, 11]);
  assertEquals(hearersOf(set, 5, 1, [0, 0, 1]), [4]);
  set.setListener(4, 2, [0, 0, 11]);
  assertEquals(hearersOf(set, 5, 1, [0, 0, 1]), []);
  set.setListener(4, 1, undefined);
  assertEquals(hearersOf(set, 5, 1, [0, 0, 1]), []);
  assertEquals(set.size, 1);
});

Deno.test("`removeListener()` forgets that peer alone, when several are known", () => {
  const set = new AudibleSet(VOICE);
  for (let peer = 1; peer <= 5; peer++) set.setListener(peer, 1, [0, 0, 0]);
  set.removeListener(2);
  set.removeListener(5);
  set.removeListener(77);
  assertEquals([hearersOf(set, 9, 1, [0, 0, 0]), set.size], [[1, 3, 4], 3]);
});
