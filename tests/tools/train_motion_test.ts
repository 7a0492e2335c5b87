import { assert, assertEquals } from "@std/assert";
import { runAvatars } from "../../bench/avatars.ts";
import { readClip } from "../../examples/recorded.ts";
import { MotionTables } from "../../replication/coding/motion_model.ts";
import { MOTION_TABLES } from "../../replication/coding/motion_tables.ts";
import {
  DOCUMENT_FILE,
  PEOPLE,
  renderDocument,
  renderTables,
  TABLES_FILE,
  trainMotion,
} from "../../tools/train_motion.ts";
import { ROOT } from "../support/run_program.ts";

Deno.test("`trainMotion()` learns tables that suit what they learnt from no worse than the shipped ones do", () => {
  const clip = readClip("02_05");
  const learnt = trainMotion([clip]);
  assertEquals(learnt.map((row) => row.length), MOTION_TABLES.map((row) => row.length));
  for (const lag of [1, 3]) {
    const bytes = (rows: readonly (readonly number[])[]) =>
      runAvatars([clip], lag, { n: 20, ticks: 60, seed: 1 }, new MotionTables(rows)).bytes;
    const own = bytes(learnt);
    const shipped = bytes(MOTION_TABLES);
    assert(own <= shipped, `lag ${lag}: ${own} B an avatar, shipped ${shipped} B`);
  }
});

Deno.test("`renderTables()` and `renderDocument()` give the files that are shipped, which say the same", async () => {
  const read = (path: string) => Deno.readTextFile(`${ROOT}${path}`);
  assertEquals(await read(TABLES_FILE), renderTables(MOTION_TABLES));
  assertEquals(await read(DOCUMENT_FILE), renderDocument(MOTION_TABLES));
  for (const person of PEOPLE) {
    const text = await read(`bench/data/motion_without_${person}.json`);
    const rows = JSON.parse(text);
    assertEquals(text, renderDocument(rows));
    assert(new MotionTables(rows).rows.length === new MotionTables().rows.length);
  }
});
