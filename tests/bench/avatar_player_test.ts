// The load's avatars against the pose that the demo plays.

import { assertAlmostEquals, assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import { AvatarPlayer, drawPlaces } from "../../bench/avatar_player.ts";
import { fanoutManifest } from "../../bench/fanout_manifest.ts";
import { poseAt, readClips } from "../../examples/recorded.ts";
import { compileGrants } from "../../permissions/compile.ts";
import { parseManifest } from "../../permissions/manifest.ts";
import { Prng } from "../../protocol/prng.ts";

Deno.test("`play()` writes the recorded pose of each frame, when it goes on past the clip's end and back", () => {
  const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());
  const grants = compileGrants(parseManifest(fanoutManifest(2, { role: "server" }), "x"), sha256);
  const clip = readClips().reduce((a, b) => a.frameCount < b.frameCount ? a : b);
  const place = [4.5, -3] as const;
  const start = clip.frameCount - 20;
  const player = new AvatarPlayer(clip, place, start, 30, grants.components[0]!);
  const view = new DataView(player.row.buffer);
  for (let i = 0; i < clip.frameCount; i++) {
    player.play();
    const pose = poseAt(clip, start + 2 * i, place);
    const numbers = Object.values(pose).flat();
    assertEquals(numbers.length, 28);
    numbers.forEach((value, at) => {
      assertAlmostEquals(view.getFloat32(at * 4, true), value, 1e-5, `frame ${i}, float ${at}`);
    });
  }
});

Deno.test("`drawPlaces()` gives everyone a place of its own on a grid, when the seed is the same the same ones", () => {
  for (const count of [2, 9, 32]) {
    const places = drawPlaces(count, new Prng(3));
    assertEquals(places, drawPlaces(count, new Prng(3)));
    assertEquals(new Set(places.map(String)).size, count);
    for (const a of places) {
      for (const b of places) {
        const distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
        assertEquals(a === b || distance >= 1.5, true);
      }
    }
  }
  assertEquals(String(drawPlaces(32, new Prng(3))) === String(drawPlaces(32, new Prng(4))), false);
});
