// Drivers that are killed without a word. The engine goes on, the next driver takes up where the last one stood, and everybody's state is
// exact again.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { writeCertificate } from "../../driver/certificate_files.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { delay, ProcessStage, type StageEngine } from "../support/process_stage.ts";

const SIGKILL_CODE = 137;

/** Moves an avatar a few times, as game code does. */
async function walk(engine: StageEngine, avatar: number, from: number): Promise<void> {
  for (let step = 0; step < 6; step++) {
    assert(engine.link.set(avatar, "Avatar", { body: [from + step, 0, step] }));
    await delay(40);
  }
}

function bodyOf(at: StageEngine, of: StageEngine, handle: number): number[] | undefined {
  return at.seen(of, handle, "Avatar")?.body as number[] | undefined;
}

Deno.test("a client's engine gets the same place and exact state back, when its driver is killed and the next one launched", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    const ann = await stage.client("ann", server.pin);
    const bob = await stage.client("bob", server.pin);
    const avatar = ann.link.spawn({ Avatar: { body: [1, 0, 0] }, Name: { text: "Ann" } });
    const other = bob.link.spawn({ Avatar: { body: [2, 0, 0] } });
    const prop = server.link.spawn({ Prop: { position: [0, 1, 0] } });
    await walk(ann, avatar, 1);
    await stage.untilSame([server, ann, bob], 3);
    const peer = ann.link.peer!;
    const id = ann.link.networkIdOf(avatar);

    await ann.driver!.crash();
    assertEquals(ann.driver!.exitCode, SIGKILL_CODE);
    await stage.until("ann's engine hears of it", () => ann.lost.length > 0);
    assertEquals(ann.lost, ["the connection ended"]);
    // Everybody's world goes on meanwhile.
    assert(ann.link.set(avatar, "Avatar", { body: [-3, 0, 0] }));
    assert(ann.link.set(avatar, "Name", { text: "Ann again" }));
    assert(server.link.set(prop, "Prop", { position: [0, 5, 0] }));
    await walk(bob, other, 20);

    stage.drive(ann);
    await stage.until("the next driver joins", () => ann.joins.length === 2);
    assertEquals(ann.backs, 1);
    assertEquals([ann.joins[1]!.peer, ann.joins[1]!.resumed], [peer, true]);
    await stage.until(
      "each sees what the others did",
      () =>
        bodyOf(bob, ann, avatar)?.[0] === -3 && bodyOf(ann, bob, other)?.[0] === 25 &&
        (ann.seen(server, prop, "Prop")?.position as number[])[1] === 5,
    );
    await stage.untilSame([server, ann, bob], 3);
    assertEquals(bob.seen(ann, avatar, "Name"), { text: "Ann again" });
    assertEquals(ann.link.networkIdOf(avatar), id);
    assertEquals([server.gone, bob.gone], [[], []]);
    assertEquals([ann, bob, server].map(({ world }) => world.size), [3, 3, 3]);

    await walk(ann, avatar, 7);
    await stage.until("and the next step arrives too", () => bodyOf(bob, ann, avatar)?.[0] === 12);
    await stage.untilSame([server, ann, bob], 3);
  }));

Deno.test("a server's engine goes on, and its clients come back by themselves, when its driver is killed and the next one launched", () =>
  ProcessStage.play(async (stage) => {
    const { pin } = await writeCertificate(`${stage.folder}/certs`, 30, ["127.0.0.1"]);
    const server = await stage.server((value: Loose) => {
      value.host.certificate = { certFile: "certs/cert.pem", keyFile: "certs/key.pem" };
    });
    assertEquals(server.pin, pin);
    const ann = await stage.client("ann", pin);
    const bob = await stage.client("bob", pin);
    const avatar = ann.link.spawn({ Avatar: { body: [1, 0, 0] }, Name: { text: "Ann" } });
    const other = bob.link.spawn({ Avatar: { body: [2, 0, 0] } });
    const prop = server.link.spawn({ Prop: { position: [0, 1, 0] }, Greeting: { text: "hi" } });
    const doomed = server.link.spawn({ Prop: { position: [9, 9, 9] } });
    await stage.untilSame([server, ann, bob], 4);

    await server.driver!.crash();
    await stage.until("the server's engine hears of it", () => server.lost.length > 0);
    assert(server.link.set(prop, "Prop", { position: [0, 6, 0] }));
    assert(server.link.despawn(doomed));
    const late = server.link.spawn({ Prop: { position: [1, 1, 1] } });
    assertNotEquals(late, 0);
    assert(ann.link.set(avatar, "Avatar", { body: [30, 0, 0] }));

    stage.drive(server);
    await stage.until("the next driver listens", () => server.joins.length === 2);
    assertEquals([server.backs, server.pin], [1, pin]);
    await stage.until(
      "both clients are back",
      () => ann.joins.length === 2 && bob.joins.length === 2 && server.link.peers.length === 2,
    );
    await stage.untilSame([server, ann, bob], 4);
    for (const client of [ann, bob]) {
      assertEquals(client.lefts.at(0)?.final, false);
      assertEquals(client.lost, []);
      assertEquals(client.seen(server, prop, "Prop")?.position, [0, 6, 0]);
      assertEquals(client.seen(server, prop, "Greeting"), { text: "hi" });
      assertEquals(client.seen(server, late, "Prop")?.position, [1, 1, 1]);
    }
    assertEquals(bodyOf(bob, ann, avatar)?.[0], 30);
    assertEquals(bodyOf(server, bob, other)?.[0], 2);
    assertEquals(bob.seen(ann, avatar, "Name"), { text: "Ann" });
    assertEquals([ann, bob, server].map(({ world }) => world.size), [4, 4, 4]);
  }));
