// A certificate that is renewed while a driver runs: nothing changes until the driver is started anew, and then peers that trust the new one
// come back by themselves.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { writeCertificate } from "../../driver/certificate_files.ts";
import { delay, ProcessStage } from "../support/process_stage.ts";

const DAY_S = 86_400;

Deno.test("a server's driver takes a renewed certificate with a restart, and peers whose authorities hold both come back by themselves", () =>
  ProcessStage.play(async (stage) => {
    const file = (name: string) => `${stage.folder}/${name}`;
    const names = ["127.0.0.1"];
    const old = await writeCertificate(file("old"), 3, names);
    const renewed = await writeCertificate(file("renewed"), 30, names);
    Deno.mkdirSync(file("live"));
    const install = (folder: string) => {
      for (const name of ["cert.pem", "key.pem"]) {
        Deno.copyFileSync(file(`${folder}/${name}`), file("live/next"));
        Deno.renameSync(file("live/next"), file(`live/${name}`));
      }
    };
    install("old");
    const server = await stage.server((value) => {
      value.host.certificate = { certFile: "live/cert.pem", keyFile: "live/key.pem" };
    });
    assertEquals(server.pin, old.pin);
    // Whoever trusts both, before and after, needs to be told nothing.
    const both = [old, renewed].map(({ certFile }) => Deno.readTextFileSync(certFile));
    Deno.writeTextFileSync(file("both.pem"), both.join("\n"));
    const ann = await stage.engine(
      "ann",
      stage.manifest("ann", "client", (value) => value.host.caFile = "both.pem"),
    );
    stage.drive(ann);
    const bob = await stage.client("bob", old.pin);
    await stage.until("ann is in, too", () => ann.joins.length === 1);
    await stage.until("the time left is told", () => "certificate.secondsLeft" in server.stats);
    const left = server.stats["certificate.secondsLeft"]!;
    assert(left > 2 * DAY_S && left <= 3 * DAY_S, `${left}`);

    install("renewed");
    await delay(200);
    assertEquals([ann.lefts, bob.lefts], [[], []], "files are read at the start alone");
    assertEquals(await server.driver!.stop(), 0);
    stage.drive(server);
    await stage.until("the next driver listens", () => server.joins.length === 2);
    assertEquals(server.pin, renewed.pin);
    await stage.until("ann is back", () => ann.joins.length === 2);
    await stage.until(
      "bob hears why he is not",
      () => bob.lefts.some(({ reason }) => reason.includes("does not have the pin")),
    );
    assertStringIncludes(bob.lefts.at(-1)!.reason, old.pin);
    assertEquals(bob.joins.length, 1);
    // His engine gives the new pin to his next driver.
    bob.link.setConnect(stage.order(renewed.pin));
    assertEquals(await bob.driver!.stop(), 0);
    stage.drive(bob);
    await stage.until("bob is back", () => bob.joins.length === 2);
    await stage.until(
      "the new time is told",
      () => server.stats["certificate.secondsLeft"]! > 28 * DAY_S,
    );
  }));
