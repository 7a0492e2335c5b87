import { assertEquals, assertMatch, assertNotEquals, assertThrows } from "@std/assert";
import {
  createDevelopmentCertificate,
  inspectCertificate,
  parsePin,
  readCertificatePin,
} from "../../transport/certificate.ts";
import { TransportError, type TransportErrorCode } from "../../transport/transport_error.ts";

const DAY_MS = 86_400_000;
const made = await createDevelopmentCertificate();
const other = await createDevelopmentCertificate({ days: 400, names: ["world.example"] });

function fails(action: () => unknown, code: TransportErrorCode, text: RegExp): void {
  const error = assertThrows(action, TransportError) as TransportError;
  assertEquals(error.code, code);
  assertMatch(error.message, text);
}

Deno.test("`createDevelopmentCertificate()` makes a new key and certificate each time", () => {
  assertMatch(made.pin, /^[0-9a-f]{64}$/);
  assertNotEquals(made.pin, other.pin);
  assertNotEquals(made.keyPem, other.keyPem);
  const now = Date.now();
  const facts = inspectCertificate(made.certPem, now, made);
  assertEquals(facts.pin, made.pin);
  assertEquals(Math.round((facts.notAfterMs - facts.notBeforeMs) / DAY_MS), 13);
  const lasting = inspectCertificate(other.certPem, now, other);
  assertEquals(Math.round((lasting.notAfterMs - lasting.notBeforeMs) / DAY_MS), 400);
});

Deno.test("`readCertificatePin()` hashes the first certificate of a chain, whatever stands around it", async () => {
  const body = made.certPem.replaceAll(/-----[^-]+-----|\s/g, "");
  const digest = await crypto.subtle.digest("SHA-256", Uint8Array.fromBase64(body));
  assertEquals(readCertificatePin(made.certPem), new Uint8Array(digest).toHex());
  assertEquals(readCertificatePin(`# mine\r\n${made.certPem}\n${other.certPem}`), made.pin);
  fails(() => readCertificatePin(made.keyPem), "bad-certificate", /no certificate found/);
  fails(
    () => readCertificatePin("-----BEGIN CERTIFICATE-----\nAAAAA\n-----END CERTIFICATE-----"),
    "bad-certificate",
    /no certificate found/,
  );
});

Deno.test("`inspectCertificate()` refuses one that has expired, or is not valid yet", () => {
  const now = Date.now();
  fails(
    () => inspectCertificate(made.certPem, now + 14 * DAY_MS),
    "bad-certificate",
    /expired on \d{4}-.*renew it/,
  );
  fails(
    () => inspectCertificate(made.certPem, now - DAY_MS),
    "bad-certificate",
    /valid only from \d{4}-.*clock/,
  );
});

Deno.test("`inspectCertificate()` refuses another's key, a bad key, another pin, a bad pin, a damaged certificate", () => {
  const now = Date.now();
  const inspect = (expected: { keyPem?: string; pin?: string }) => () =>
    inspectCertificate(made.certPem, now, expected);
  fails(inspect({ keyPem: other.keyPem }), "bad-certificate", /does not belong/);
  fails(inspect({ keyPem: "none" }), "bad-certificate", /cannot be read/);
  fails(inspect({ pin: other.pin }), "pin-mismatch", /correct the pin/);
  fails(inspect({ pin: "12" }), "bad-certificate", /64 hex digits/);
  fails(
    () =>
      inspectCertificate(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        now,
      ),
    "bad-certificate",
    /damaged/,
  );
});

Deno.test("`parsePin()` reads 64 hex digits, also as openssl prints them", () => {
  const bytes = parsePin(made.pin)!;
  assertEquals(bytes.length, 32);
  assertEquals(parsePin(made.pin.toUpperCase().replace(/..(?!$)/g, "$&:")), bytes);
  assertEquals(parsePin(made.pin.slice(1)), undefined);
  assertEquals(parsePin(`${made.pin.slice(1)}g`), undefined);
  assertEquals(parsePin(""), undefined);
});
