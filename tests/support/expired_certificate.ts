// A certificate whose days are over, with its key, as files.

import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const DAY_MS = 86_400_000;

/** Writes `cert.pem` and `key.pem` into a new folder; the certificate was valid for ten days and ended two days ago. */
export async function writeExpiredCertificate(folder: string): Promise<void> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "CN=Yesterday",
    notBefore: new Date(Date.now() - 12 * DAY_MS),
    notAfter: new Date(Date.now() - 2 * DAY_MS),
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "ip", value: "127.0.0.1" }])],
  }, crypto);
  const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  Deno.mkdirSync(folder);
  Deno.writeTextFileSync(`${folder}/cert.pem`, certificate.toString("pem"));
  Deno.writeTextFileSync(
    `${folder}/key.pem`,
    `-----BEGIN PRIVATE KEY-----\n${key.toBase64()}\n-----END PRIVATE KEY-----\n`,
  );
}
