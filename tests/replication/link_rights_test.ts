// The masks of one link: what changes with a role and with adjustments, and what that makes of values under way.

import { assert, assertEquals } from "@std/assert";
import { Adjustments, NO_ADJUSTMENT } from "../../permissions/adjustments.ts";
import { LinkRights } from "../../replication/link_rights.ts";
import { ACKED, BASE_TICK, TrackPool, VALUE_MARKS } from "../../replication/track_pool.ts";
import { hasBase, ValueTrack } from "../../replication/tracks.ts";
import { buildComponents, sampleGrants } from "../support/sample_grants.ts";

const FIELDS = ["a", "b", "c"].map((name) => ({ name, kind: "u8" as const }));
const GRANTS = sampleGrants({
  components: buildComponents([
    {
      id: 1,
      name: "Owned",
      fields: FIELDS,
      authority: "owner",
      readMasks: [7, 1, 3],
      ownerReadMask: 4,
      writeMasks: [7, 3, 0],
      grantableRead: 2,
      grantableWrite: 4,
      hostSendMask: 1,
    },
    { id: 2, name: "Served", fields: FIELDS, readMasks: [7, 7, 7] },
  ]),
});

Deno.test("`LinkRights` knows own entities and others apart, whatever a host denies", () => {
  const down = new LinkRights(GRANTS, "down", { roleIndex: 1 });
  assertEquals([[...down.own], [...down.other]], [[5, 7], [1, 7]]);
  const up = new LinkRights(GRANTS, "up", { roleIndex: 1 });
  assertEquals([[...up.own], [...up.other]], [[3, 0], [0, 0]]);
  assertEquals([...down.update(2)], [0]);
  assertEquals([[...down.own], [...down.other]], [[7, 7], [3, 7]]);
  assertEquals([...up.update(2)], [0]);
  assertEquals([...up.own], [0, 0]);
});

Deno.test("`update()` tells of components whose masks changed in either way, and of no others", () => {
  const adjusted = new Adjustments();
  const [owned, served] = [GRANTS.components[0]!, GRANTS.components[1]!];
  const down = new LinkRights(GRANTS, "down", { roleIndex: 1, adjusted });
  const up = new LinkRights(GRANTS, "up", { roleIndex: 1, adjusted });
  const changes = () => [[...down.update(1)], [...up.update(1)]];
  // Only owners read it.
  adjusted.set(owned, { ...NO_ADJUSTMENT, readRevoked: 4 });
  assertEquals(changes(), [[0], []]);
  assertEquals([down.own[0], down.other[0]], [1, 1]);
  adjusted.set(owned, { ...NO_ADJUSTMENT, readRevoked: 4, writeGranted: 4 });
  assertEquals(changes(), [[], [0]]);
  assertEquals(up.own[0], 7);
  adjusted.set(served, { ...NO_ADJUSTMENT, writeRevoked: 1, readRevoked: 0 });
  assertEquals(changes(), [[], []]);
  adjusted.clear();
  assertEquals(changes(), [[0], [0]]);
  assertEquals([[...down.own], [...up.own]], [[5, 7], [3, 0]]);
});

Deno.test("`remask()` makes a value go anew, unless the peer wrote it and only loses by it", () => {
  const pool = new TrackPool();
  const written = new ValueTrack(pool, 0);
  written.mask = 7;
  written.sync(5, 1, 5);
  written.remask(3);
  assert(written.isAcked && !written.isForced);
  assertEquals([written.mask, hasBase(pool.values, written.at, 6, 100)], [3, false]);
  written.remask(7);
  assert(!written.isAcked && written.isForced);
  const sent = new ValueTrack(pool, 0);
  sent.mask = 7;
  pool.values[sent.at + VALUE_MARKS] = ACKED;
  pool.values[sent.at + BASE_TICK] = 4;
  assert(sent.isAcked && hasBase(pool.values, sent.at, 6, 100));
  sent.remask(3);
  assert(!sent.isAcked && sent.isForced);
  assertEquals([sent.mask, hasBase(pool.values, sent.at, 6, 100)], [3, false]);
});
