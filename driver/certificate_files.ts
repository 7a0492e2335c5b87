// Certificates as files. Reads what a manifest names and says what is wrong with it; writes a lasting pair: never over files that exist,
// the key readable by its owner alone. How a certificate is made, and when it can be used, is in transport/certificate.ts.

import { resolve } from "node:path";
import type { HostPaths } from "../permissions/paths.ts";
import {
  type CertifiedKey,
  createDevelopmentCertificate,
  inspectCertificate,
  readCertificatePin,
} from "../transport/certificate.ts";
import { TransportError } from "../transport/transport_error.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { whyUnreadable } from "./manifest_file.ts";

/** What was written. */
export interface WrittenCertificate {
  /** Absolute path of the certificate, PEM. */
  readonly certFile: string;
  /** Absolute path of the private key, PEM (PKCS 8), mode 0600. */
  readonly keyFile: string;
  /** SHA-256 of the certificate's DER form, lower-case hex. */
  readonly pin: string;
}

/**
 * Makes a self-signed P-256 certificate and writes `cert.pem` and `key.pem` into `folder`, which is made if it is missing.
 *
 * @param names Host names and addresses it is valid for.
 * @throws {CommandError} where a file exists or cannot be written; nothing half-written stays.
 */
export async function writeCertificate(
  folder: string,
  days: number,
  names: readonly string[],
): Promise<WrittenCertificate> {
  const certFile = resolve(folder, "cert.pem");
  const keyFile = resolve(folder, "key.pem");
  for (const file of [certFile, keyFile]) {
    if (exists(file)) {
      throw new CommandError(
        ExitCode.File,
        `${file} exists and is not overwritten: its pin may be in use. Name another folder after --out, or move the file away.`,
      );
    }
  }
  const { certPem, keyPem, pin } = await createDevelopmentCertificate({ days, names: [...names] });
  const written: string[] = [];
  try {
    Deno.mkdirSync(resolve(folder), { recursive: true, mode: 0o700 });
    for (
      const [file, text, mode] of [[keyFile, keyPem, 0o600], [certFile, certPem, 0o644]] as const
    ) {
      Deno.writeTextFileSync(file, text, { createNew: true, mode });
      written.push(file);
    }
  } catch (error) {
    for (const file of written) Deno.removeSync(file);
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(
      ExitCode.File,
      `The certificate cannot be written into ${
        resolve(folder)
      }: ${why}. Name a folder you may write after --out.`,
      { cause: error },
    );
  }
  return { certFile, keyFile, pin };
}

function exists(file: string): boolean {
  try {
    Deno.lstatSync(file);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // A path through something that is no folder: writing will say so in its own words.
    return false;
  }
}

/**
 * The certificate and key with which a server starts: those of the files its manifest names, or a fresh pair that lives in memory only.
 *
 * @throws {CommandError} where a file cannot be read, or what it holds cannot be used now.
 */
export async function serverKeys(paths: HostPaths): Promise<CertifiedKey> {
  const { certFile, keyFile } = paths;
  if (certFile === undefined || keyFile === undefined) return await createDevelopmentCertificate();
  const certPem = readTextFile(certFile, "host.certificate.certFile");
  const keyPem = readTextFile(keyFile, "host.certificate.keyFile");
  const { pin } = naming(
    `host.certificate: ${certFile}`,
    () => inspectCertificate(certPem, Date.now(), { keyPem }),
  );
  return { certPem, keyPem, pin };
}

/**
 * The certificate of an authority, PEM. That the file holds one is found out here and not with the first handshake.
 *
 * @throws {CommandError} where it cannot be read or holds none.
 */
export function readAuthority(caFile: string): string {
  const pem = readTextFile(caFile, "host.caFile");
  naming(`host.caFile: ${caFile}`, () => readCertificatePin(pem));
  return pem;
}

function readTextFile(path: string, key: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new CommandError(
      ExitCode.Certificate,
      `${key}: ${path} cannot be read: ${whyUnreadable(error, key)}`,
      { cause: error },
    );
  }
}

/** Puts the place in the manifest and the file in front of what is wrong with a certificate. */
function naming<T>(where: string, inspect: () => T): T {
  try {
    return inspect();
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    throw new CommandError(ExitCode.Certificate, `${where}: ${error.message}`, { cause: error });
  }
}
