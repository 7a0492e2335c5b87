// A client's driver that is asked to end says so to its server, which keeps no place for it.

import { assertEquals } from "@std/assert";
import { ProcessStage } from "../support/process_stage.ts";

Deno.test("a client's driver that gets SIGTERM leaves at once: nobody waits for it to come back", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    const ann = await stage.client("ann", server.pin);
    const bob = await stage.client("bob", server.pin);
    ann.link.spawn({ Avatar: { body: [1, 0, 0] } });
    const avatar = bob.link.spawn({ Avatar: { body: [2, 0, 0] } });
    await stage.untilSame([server, ann, bob], 2);
    const seen = ann.handleFrom(bob, avatar);
    const peer = bob.link.peer!;

    assertEquals(await bob.driver!.stop(), 0);
    await stage.until("the others were told", () => server.gone.length > 0 && ann.gone.length > 0);
    assertEquals(server.gone, [[peer, "left"]]);
    assertEquals(ann.gone, [[peer, "left"]]);
    await stage.until("his avatar is gone", () => !ann.world.has(seen) && server.world.size === 1);
    assertEquals(server.stats["peers.lost"], undefined);
  }));
