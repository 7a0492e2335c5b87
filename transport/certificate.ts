// Certificates: making one for development, reading a pin, finding out before a socket opens that one cannot work. It keeps nothing on
// disk. The library that makes certificates is loaded only when one is made: it costs 100 ms of start-up.

import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { TransportError, TransportErrorCode } from "./transport_error.ts";

/** A certificate with its key, in PEM, and its pin. */
export interface CertifiedKey {
  /** The certificate, PEM. */
  readonly certPem: string;
  /** The private key, PKCS #8 PEM. It is a secret. */
  readonly keyPem: string;
  /** SHA-256 of the certificate's DER, 64 lower-case hex digits. */
  readonly pin: string;
}

/** What {@linkcode inspectCertificate} found. */
export interface CertificateFacts {
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly pin: string;
  /** First moment of validity, ms since 1970. */
  readonly notBeforeMs: number;
  /** Last moment of validity, ms since 1970. */
  readonly notAfterMs: number;
}

/** Settings of {@linkcode createDevelopmentCertificate}. */
export interface DevelopmentCertificateOptions {
  /** Days of validity from now; default 13, the most that browsers take for a pinned certificate. */
  readonly days?: number;
  /** Host names and IP addresses it is for; default `localhost`, `127.0.0.1` and `::1`. */
  readonly names?: readonly string[];
}

/** Bytes of a SHA-256 pin. */
export const PIN_BYTES = 32;
const DAY_MS = 86_400_000;
/** A certificate begins this long, ms, before it is made: the other end's clock may be behind. */
const CLOCK_SLACK_MS = 3_600_000;
const FIRST_CERTIFICATE = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/;
const PIN_TEXT = /^[0-9a-f]{64}$/;

/** The pin's bytes, from 64 hex digits (upper case and colons allowed, as `openssl` prints them); `undefined` if it is no pin. */
export function parsePin(text: string): Uint8Array<ArrayBuffer> | undefined {
  const digits = text.replaceAll(":", "").toLowerCase();
  return PIN_TEXT.test(digits) ? Uint8Array.fromHex(digits) : undefined;
}

function derOf(certPem: string): Uint8Array {
  const body = FIRST_CERTIFICATE.exec(certPem)?.[1];
  if (body !== undefined) {
    try {
      return Uint8Array.fromBase64(body);
    } catch {
      // Said below, with everything else that is no certificate.
    }
  }
  throw new TransportError(
    TransportErrorCode.BadCertificate,
    'no certificate found: give a PEM file with a "-----BEGIN CERTIFICATE-----" block, the server\'s own certificate first',
  );
}

/**
 * SHA-256 of the first certificate in `certPem`, hex: what a connector pins, and the channel binding of its connections.
 *
 * @throws {TransportError} `bad-certificate` when there is none.
 */
export function readCertificatePin(certPem: string): string {
  return createHash("sha256").update(derOf(certPem)).digest("hex");
}

/**
 * Checks that a certificate can be used now, and reads what it says.
 *
 * @param nowMs The time, ms since 1970.
 * @param expected The private key that must belong to it, and the pin that it must have, where known.
 * @throws {TransportError} `bad-certificate`, saying what is wrong and what to change; `pin-mismatch` for another pin.
 */
export function inspectCertificate(
  certPem: string,
  nowMs: number,
  expected: { readonly keyPem?: string; readonly pin?: string } = {},
): CertificateFacts {
  const bad = (message: string, cause?: unknown) =>
    new TransportError(TransportErrorCode.BadCertificate, message, { cause });
  const der = derOf(certPem);
  let certificate: X509Certificate;
  let notBeforeMs: number;
  let notAfterMs: number;
  try {
    certificate = new X509Certificate(der);
    notBeforeMs = Date.parse(certificate.validFrom);
    notAfterMs = Date.parse(certificate.validTo);
  } catch (cause) {
    throw bad("the certificate cannot be read: it is damaged, or no X.509 certificate", cause);
  }
  const day = (ms: number) => new Date(ms).toISOString();
  if (Number.isNaN(notBeforeMs) || Number.isNaN(notAfterMs)) {
    throw bad("the certificate's dates cannot be read: make a new one");
  }
  if (nowMs > notAfterMs) {
    throw bad(
      `the certificate expired on ${
        day(notAfterMs)
      }: renew it, and give the new pin to those who pin it`,
    );
  }
  if (nowMs < notBeforeMs) {
    throw bad(
      `the certificate is valid only from ${
        day(notBeforeMs)
      }: wait, or set this machine's clock right`,
    );
  }
  if (expected.keyPem !== undefined && !keyBelongs(certificate, expected.keyPem)) {
    throw bad("the private key does not belong to the certificate: give the key it was made with");
  }
  const pin = createHash("sha256").update(der).digest("hex");
  if (expected.pin !== undefined) {
    const wanted = parsePin(expected.pin);
    if (wanted === undefined) {
      throw bad("the pin is not a SHA-256 hash: write 64 hex digits");
    }
    if (wanted.toHex() !== pin) {
      throw new TransportError(
        TransportErrorCode.PinMismatch,
        `the certificate's pin is ${pin}, the settings say ${wanted.toHex()}: correct the pin, or give the certificate it belongs to`,
      );
    }
  }
  return { pin, notBeforeMs, notAfterMs };
}

function keyBelongs(certificate: X509Certificate, keyPem: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch (cause) {
    throw new TransportError(
      TransportErrorCode.BadCertificate,
      'the private key cannot be read: give a PEM file with a "-----BEGIN PRIVATE KEY-----" block, not encrypted',
      { cause },
    );
  }
}

/**
 * Makes a self-signed P-256 certificate, in memory only. For development: its pin changes with every call.
 *
 * @example
 * ```ts
 * const { certPem, keyPem, pin } = await createDevelopmentCertificate({ names: ["localhost"] });
 * ```
 */
export async function createDevelopmentCertificate(
  options: DevelopmentCertificateOptions = {},
): Promise<CertifiedKey> {
  const names = options.names ?? ["localhost", "127.0.0.1", "::1"];
  // The certificate library decorates its classes and needs this before it is evaluated.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const now = Date.now();
  const isAddress = (name: string) => name.includes(":") || /^[0-9.]+$/.test(name);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: crypto.getRandomValues(new Uint8Array(15)).toHex().padStart(32, "01"),
    name: "CN=SyncraEngine development",
    notBefore: new Date(now - CLOCK_SLACK_MS),
    notAfter: new Date(now + (options.days ?? 13) * DAY_MS - CLOCK_SLACK_MS),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((name) => ({
          type: isAddress(name) ? "ip" as const : "dns" as const,
          value: name,
        })),
      ),
    ],
  }, crypto);
  const certPem = certificate.toString("pem");
  const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const keyPem = `-----BEGIN PRIVATE KEY-----\n${
    key.toBase64().replace(/.{64}/g, "$&\n")
  }\n-----END PRIVATE KEY-----\n`;
  return { certPem, keyPem, pin: readCertificatePin(certPem) };
}
