// A client that cannot get in: the wrong pin, no server, another world. It says clearly why, tries again where that can help, and is in as
// soon as it may.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { writeCertificate } from "../../driver/certificate_files.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { Fault } from "../../protocol/faults.ts";
import { ProcessStage } from "../support/process_stage.ts";

Deno.test("a client with the wrong pin hears why and goes on trying, and is in once its next driver is given the right one", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    const wrong = "5".repeat(64);
    const ann = await stage.engine("ann", stage.manifest("ann", "client"), { pin: wrong });
    stage.drive(ann);
    await stage.until("three attempts have failed", () => ann.lefts.length >= 3);
    for (const { code, reason, final } of ann.lefts) {
      assertEquals([code, final], [CloseCode.Silence, false]);
      assertStringIncludes(reason, "the certificate of the server");
      assertStringIncludes(reason, `does not have the pin ${wrong.slice(0, 16)}`);
    }
    assertEquals([ann.joins, server.link.peers], [[], []]);
    assertEquals(ann.driver!.exitCode, undefined);

    ann.link.setConnect(stage.order(server.pin));
    assertEquals(await ann.driver!.stop(), 0);
    stage.drive(ann);
    await stage.until("ann is in", () => ann.joins.length === 1);
  }));

Deno.test("a client whose manifest pins another certificate hears why, and never joins", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    const file = stage.manifest("ann", "client", (value) => value.host.pin = "6".repeat(64));
    const ann = await stage.engine("ann", file);
    stage.drive(ann);
    await stage.until("two attempts have failed", () => ann.lefts.length >= 2);
    assertStringIncludes(ann.lefts[0]!.reason, "does not have the pin 6666");
    assertEquals(server.link.peers, []);
  }));

Deno.test("a client that trusts an authority joins the server whose certificate it signed, and no other", () =>
  ProcessStage.play(async (stage) => {
    await writeCertificate(`${stage.folder}/certs`, 30, ["127.0.0.1"]);
    await writeCertificate(`${stage.folder}/other`, 30, ["127.0.0.1"]);
    await stage.server((value) => {
      value.host.certificate = { certFile: "certs/cert.pem", keyFile: "certs/key.pem" };
    });
    const trusting = (name: string, caFile: string) =>
      stage.engine(name, stage.manifest(name, "client", (value) => value.host.caFile = caFile));
    const ann = await trusting("ann", "certs/cert.pem");
    const bob = await trusting("bob", "other/cert.pem");
    for (const client of [ann, bob]) stage.drive(client);
    await stage.until("ann is in", () => ann.joins.length === 1);
    await stage.until("bob is told why not", () => bob.lefts.length > 0);
    assertStringIncludes(bob.lefts[0]!.reason, "is not trusted");
    assertEquals([bob.joins, bob.lefts[0]!.final], [[], false]);
  }));

Deno.test("a client whose server is not there yet says so, tries again, and joins when it appears", () =>
  ProcessStage.play(async (stage) => {
    const { pin } = await writeCertificate(`${stage.folder}/certs`, 30, ["127.0.0.1"]);
    const ann = await stage.engine("ann", stage.manifest("ann", "client"), { pin });
    const avatar = ann.link.spawn({ Avatar: { body: [1, 2, 3] } });
    stage.drive(ann);
    await stage.until("an attempt has failed", () => ann.lefts.length > 0);
    assertStringIncludes(ann.lefts[0]!.reason, "the server did not answer in time");
    assertEquals([ann.lefts[0]!.code, ann.lefts[0]!.final], [CloseCode.Silence, false]);

    const server = await stage.server((value) => {
      value.host.certificate = { certFile: "certs/cert.pem", keyFile: "certs/key.pem" };
    });
    await stage.until("ann is in", () => ann.joins.length === 1);
    await stage.untilSame([server, ann], 1);
    assertEquals(server.seen(ann, avatar, "Avatar")?.body, [1, 2, 3]);
  }));

Deno.test("a client of another world is refused for good, told why, and its driver lives on", () =>
  ProcessStage.play(async (stage) => {
    const server = await stage.server();
    const file = stage.manifest("ann", "client", (value) => value.world.name = "another room");
    const ann = await stage.engine("ann", file, { pin: server.pin });
    stage.drive(ann);
    await stage.until("ann is refused", () => ann.lefts.length > 0);
    const { code, reason, final } = ann.lefts[0]!;
    assertEquals([code, final], [Fault.Incompatible, true]);
    assertStringIncludes(reason, "both sides need the same one");
    // Its figures come once a second: it runs, and there was one attempt only.
    await stage.until(
      "its driver tells figures",
      () => ann.stats["connect.attempts"] !== undefined,
    );
    await stage.until("the server counts it", () => server.stats["join.refused"] !== undefined);
    assertEquals(ann.stats["connect.attempts"], 1);
    assertEquals([ann.lefts.length, server.stats["join.refused"]], [1, 1]);
    assertEquals(ann.driver!.exitCode, undefined);
    await stage.client("bob", server.pin);
    assert(server.link.peers.length === 1);
  }));
