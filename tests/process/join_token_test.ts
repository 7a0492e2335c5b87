// Join tokens between real drivers over real QUIC: issued by the command, signed by engines, checked by the runtime's cryptography.

import { assertEquals } from "@std/assert";
import { writeCertificate } from "../../driver/certificate_files.ts";
import { issueFromFile, writeKeyFile } from "../../driver/token_command.ts";
import { CloseCode } from "../../protocol/close_codes.ts";
import { base64Url, TestKey } from "../support/join_keys.ts";
import type { Loose } from "../support/manifest_samples.ts";
import { ProcessStage, type StageEngine } from "../support/process_stage.ts";

Deno.test("a holder of a join token joins over QUIC in the token's role, once; nobody joins without one, also after the server's driver was killed", () =>
  ProcessStage.play(async (stage) => {
    const keyFile = `${stage.folder}/issuer.jwk`;
    const issuer = await writeKeyFile(keyFile);
    let world = "";
    const edit = (value: Loose) => {
      world = value.world.name;
      value.world.identity = { anonymous: false, issuers: [issuer] };
    };
    // A lasting certificate: the pin of a development one would not outlive its driver.
    const { certFile, keyFile: tlsKey } = await writeCertificate(`${stage.folder}/certs`, 2, [
      "127.0.0.1",
    ]);
    const server = await stage.server((value) => {
      edit(value);
      value.host.certificate = { certFile, keyFile: tlsKey };
    });
    const who: string[] = [];
    server.link.onIdentity = (peer, { subject, role }) => who.push(`${peer} ${subject} ${role}`);
    const holder = new TestKey(7);
    const ticket = (pin: string) =>
      issueFromFile({
        keyFile,
        subject: "alice@example.org",
        role: "spectator",
        world,
        pin,
        holder: base64Url(holder.publicKey),
        ttlS: 120,
      }, Math.floor(Date.now() / 1000));
    const token = await ticket(server.pin);
    const launch = async (name: string, key: TestKey | undefined, shown: string) => {
      const engine = await stage.engine(name, stage.manifest(name, "client", edit));
      const credential = new TextEncoder().encode(shown);
      engine.link.setConnect({ ...stage.order(server.pin), credential });
      // A key store takes its time.
      if (key !== undefined) engine.link.onSign = (bytes) => Promise.resolve(key.sign(bytes));
      stage.drive(engine);
      await stage.until(`${name} is answered`, () => engine.joins.length + engine.lefts.length > 0);
      return engine;
    };
    const refusal = ({ lefts: [left] }: StageEngine) => [left?.code, left?.final];

    const anonymous = await launch("nobody", undefined, "");
    assertEquals(refusal(anonymous), [CloseCode.Credential, true]);
    const thief = await launch("thief", new TestKey(8), token);
    assertEquals(refusal(thief), [CloseCode.Credential, true]);
    const alice = await launch("alice", holder, token);
    assertEquals(alice.joins.map(({ role }) => role), ["spectator"]);
    await stage.until("the server's engine knows her", () => who.length > 0);
    assertEquals(who, [`${alice.link.peer} alice@example.org spectator`]);
    const again = await launch("again", holder, token);
    assertEquals(refusal(again), [CloseCode.Credential, true]);
    assertEquals(again.lefts[0]!.reason, "the join token has been used: get a new one");

    await server.driver!.crash();
    stage.drive(server);
    await stage.until("the next driver listens", () => server.joins.length === 2);
    const replay = await launch("replay", holder, token);
    assertEquals(refusal(replay), [CloseCode.Credential, true]);
    assertEquals(replay.lefts[0]!.reason, "the join token has been used: get a new one");
    const bob = await launch("bob", holder, await ticket(server.pin));
    assertEquals(bob.joins.map(({ role }) => role), ["spectator"]);
  }));
