// An engine that stops reading for a while. Its driver keeps the newest state and not the history, its peers notice nothing, and once the
// engine reads again it is shown the present.

import { assert, assertEquals, assertLess } from "@std/assert";
import { ENGINE_BACKLOG_BYTES, ENGINE_TIMEOUT_MS } from "../../protocol/limits.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { delay, ProcessStage } from "../support/process_stage.ts";
import { StallingTap } from "../support/stalling_tap.ts";

const AVATARS = 4;
/**
 * Entities of which one bit changes each tick, while their rows on the engine link are 0.5 kB: little for the network, and for the engine,
 * while it does not read, a history of 30 Hz x 3 s x 0.2 MB = 18 MB.
 */
const WIDE = 400;
const WIDE_FIELDS = 30;
/** They, the avatars, and the avatar of the one who watches. */
const ENTITIES = AVATARS + WIDE + 1;
const STALL_MS = 3_000;
/** Time in which what was last sent reaches the driver of the engine that does not read. */
const SETTLE_MS = 500;
/** What the kernel holds of a Unix socket, the tap in its hand, and one whole batch, bytes; generous. */
const UNDER_WAY_BYTES = 1_000_000;

/** The room with wide components in it, and with more avatars for one player. */
function widened(value: Loose): void {
  const fields: Loose = { isOn: { type: "bool" } };
  for (let i = 0; i < WIDE_FIELDS; i++) fields[`q${i}`] = { type: "quat", bits: 10 };
  value.world.components[0].spawn.maxPerPeer = AVATARS;
  value.world.components.push({
    id: 50,
    name: "Wide",
    fields,
    authority: "server",
    read: ["all"],
    write: ["server"],
  });
}

Deno.test("a driver whose engine stops reading for 3 s stays small, and then shows the newest state at once", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server(widened);
    const mover = await stage.client("mover", server.pin, widened);

    // The engine under test has a tap between it and its driver.
    const file = stage.manifest("ann", "client", widened);
    await using tap = new StallingTap(`${stage.folder}/ann.sock`, `${stage.folder}/ann.engine`);
    const ann = await stage.engine("ann", file, {
      socket: `${stage.folder}/ann.engine`,
      pin: server.pin,
    });
    const driver = stage.drive(ann);
    await stage.until("ann is in", () => ann.joins.length > 0);

    // What somebody sees, they see from where their avatar is.
    ann.link.spawn({ Avatar: { body: [10, 0, 10] } });
    const avatars = Array.from(
      { length: AVATARS },
      (_, i) => mover.link.spawn({ Avatar: { body: [i, 0, 0] } }),
    );
    const wides = Array.from({ length: WIDE }, () => server.link.spawn({ Wide: {} }));
    let step = 0;
    const move = () => {
      step += 1;
      const angle = step / 10;
      avatars.forEach((avatar, i) =>
        mover.link.set(avatar, "Avatar", { body: [i + Math.sin(angle), step / 1_000, 0] })
      );
      for (const wide of wides) server.link.set(wide, "Wide", { isOn: step % 2 === 0 });
    };
    await stage.until("ann sees them all", async () => {
      move();
      await delay(33);
      return ann.world.size === ENTITIES;
    });

    const timer = setInterval(move, 33);
    try {
      await delay(1_000);
      const before = driver.rssBytes;
      tap.stall();
      let highest = before;
      for (let waited = 0; waited < STALL_MS; waited += 100) {
        await delay(100);
        highest = Math.max(highest, driver.rssBytes);
      }
      // Nothing changes any more, so whatever passes from now on was held for the engine, however slow the machine is.
      clearInterval(timer);
      await delay(SETTLE_MS);
      const passed = tap.passedBytes;
      tap.resume();
      await stage.until("ann sees the newest step", () => {
        const body = ann.seen(mover, avatars[0]!, "Avatar")?.body as number[];
        return Math.round(body[1]! * 1_000) === step;
      });
      await stage.untilSame([server, mover, ann], ENTITIES);
      assertLess(tap.passedBytes - passed, ENGINE_BACKLOG_BYTES + UNDER_WAY_BYTES);
      assertLess(highest - before, 96 * 1024 * 1024);
    } finally {
      clearInterval(timer);
    }
    assertEquals([ann.lost, ann.lefts, server.gone], [[], [], []]);
    assert(
      STALL_MS < ENGINE_TIMEOUT_MS,
      "a longer silence is a hung engine, which is another test",
    );
  }));
