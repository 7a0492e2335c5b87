import { assertEquals } from "@std/assert";
import { AvatarJudge } from "../../examples/demo/avatars.ts";
import { sampleGrants, TRANSFORM } from "../support/sample_grants.ts";

const GRANTS = sampleGrants();
const SECOND = GRANTS.tickHz * 64;
const AVATAR = 7;

/** Ten seconds of an avatar at the tick rate, of which a reader gets the samples that `arrives` names. */
function judged(options: {
  readonly joinedS: number;
  readonly arrives: (second: number) => boolean;
  readonly forged?: number;
}) {
  const judge = new AvatarJudge(GRANTS.components[TRANSFORM]!, GRANTS.tickHz);
  const start = 1_000 * 64;
  judge.noteJoined("reader", start + options.joinedS * SECOND);
  for (let i = 0; i < 10 * GRANTS.tickHz; i++) {
    const values = { position: [i / 10, 0, 0], rotation: [0, 0, 0, 1] };
    judge.noteFlushed("owner", i, values, i);
    judge.noteStamped("owner", i, start + i * 64);
    const seen = i === options.forged ? { ...values, position: [i / 10, 0.002, 0] } : values;
    if (options.arrives(i / GRANTS.tickHz)) {
      judge.noteReceived("reader", AVATAR, seen, start + i * 64, i + 20);
    }
  }
  return judge.judge((id) => id === AVATAR ? "owner" : undefined);
}

Deno.test("`AvatarJudge.judge()` counts all samples from two seconds on, when all arrive", () => {
  assertEquals(judged({ joinedS: 0, arrives: () => true }), [{
    receiver: "reader",
    avatar: AVATAR,
    sent: 240,
    received: 240,
    wrong: 0,
    isLate: false,
  }]);
});

Deno.test("`AvatarJudge.judge()` holds what came too late against the reader, when the copy began late", () => {
  const [half] = judged({ joinedS: 0, arrives: (second) => second >= 6 });
  assertEquals([half!.sent, half!.received, half!.isLate], [240, 120, true]);
  // A reader that joined late is judged from then on.
  const [late] = judged({ joinedS: 5, arrives: (second) => second >= 5.5 });
  assertEquals([late!.sent, late!.received, late!.isLate], [90, 90, false]);
});

Deno.test("`AvatarJudge.judge()` finds a sample that is not the owner's, and a copy that stopped", () => {
  const [forged] = judged({ joinedS: 0, arrives: () => true, forged: 100 });
  assertEquals([forged!.wrong, forged!.received], [1, 239]);
  const [stopped] = judged({ joinedS: 0, arrives: (second) => second < 5 });
  assertEquals([stopped!.sent, stopped!.received, stopped!.isLate], [240, 90, false]);
});
