// The `token` commands: make keys, issue join tokens, look into one. Reads and writes key files; what a token is, and how one is signed, is
// decided elsewhere. A private key is never printed.

import { resolve } from "node:path";
import { forgetSecond, keyOf, parseJoinToken } from "../session/join_token.ts";
import { toBase64Url } from "../protocol/base64url.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { toHex } from "./hex.ts";
import { whyUnreadable } from "./manifest_file.ts";
import {
  generatePrivateKey,
  isSignedByItsIssuer,
  issueJoinToken,
  type PrivateKey,
  readPrivateKey,
} from "./token_issuer.ts";

/** Bytes of a key or token file: above any of either. */
const MAX_FILE_BYTES = 16_384;

/** What `token issue` was told. */
export interface IssueOptions {
  readonly keyFile: string;
  readonly subject: string;
  readonly role: string;
  readonly world: string;
  readonly pin: string;
  readonly holder: string;
  readonly ttlS: number;
}

/**
 * Writes a fresh key pair into a file that only its owner can read.
 *
 * @returns the public key, base64url.
 * @throws {CommandError} where the file exists or cannot be written.
 */
export async function writeKeyFile(file: string): Promise<string> {
  const path = resolve(file);
  const key = await generatePrivateKey();
  try {
    Deno.writeTextFileSync(path, `${JSON.stringify(key, undefined, 2)}\n`, {
      createNew: true,
      mode: 0o600,
    });
  } catch (error) {
    const why = error instanceof Deno.errors.AlreadyExists
      ? "it exists and is not overwritten: tokens of its key may be in use"
      : error instanceof Error
      ? error.message
      : String(error);
    throw new CommandError(
      ExitCode.File,
      `The key cannot be written to ${path}: ${why}. Name another file after --out.`,
      { cause: error },
    );
  }
  return key.x;
}

/**
 * Issues a token with the key of a file.
 *
 * @throws {CommandError} where the file holds no key, or the token would be refused everywhere.
 */
export async function issueFromFile(options: IssueOptions, nowS: number): Promise<string> {
  const { keyFile, subject, role, world, ttlS } = options;
  const key = readKeyFile(keyFile);
  const pin = options.pin.toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(pin)) {
    throw usage("--pin", "64 hexadecimal digits: the server's pin, as `cert` prints it");
  }
  if (keyOf(options.holder) === undefined) {
    throw usage(
      "--holder",
      "43 characters of base64url: the public key that `token keygen` prints",
    );
  }
  let token: string;
  try {
    token = await issueJoinToken(key, {
      subject,
      role,
      world,
      pin,
      holder: options.holder,
      ttlS,
      nowS,
      nonce: toBase64Url(crypto.getRandomValues(new Uint8Array(16))),
    });
  } catch (error) {
    throw badKey(keyFile, error);
  }
  if (parseJoinToken(new TextEncoder().encode(token)) === undefined) {
    throw new CommandError(
      ExitCode.Usage,
      "No server would take this token: --sub may have 128 bytes, --role and --world 64, " +
        "without control characters.",
    );
  }
  // A key whose two halves do not belong together signs, and nobody takes it.
  if (!await isSignedByItsIssuer(token)) throw badKey(keyFile, undefined);
  return token;
}

/**
 * What a token says, as lines for people.
 *
 * @param text The token, or with `isFile` the path of a file that holds it.
 * @param issuer Public key that shall have signed it; empty to take the one that the token names.
 * @returns the lines, and whether a server could take it at `nowS` as far as the token alone tells.
 * @throws {CommandError} where it is no join token.
 */
export async function inspectToken(
  text: string,
  isFile: boolean,
  issuer: string,
  nowS: number,
): Promise<{ readonly lines: readonly string[]; readonly isGood: boolean }> {
  const compact = (isFile ? readSmallFile(text, "--file") : text).trim();
  const token = parseJoinToken(new TextEncoder().encode(compact));
  if (token === undefined) {
    throw new CommandError(
      ExitCode.Token,
      "This is no join token: three parts of base64url with points between them, as `token issue` prints it.",
    );
  }
  const { claims } = token;
  const isSigned = await isSignedByItsIssuer(compact) &&
    (issuer === "" || issuer === token.issuer);
  const isTimely = nowS < forgetSecond(claims);
  const signature = !isSigned
    ? "bad: not signed by this issuer"
    : issuer === ""
    ? "good for the issuer that the token names; compare that with world.identity.issuers"
    : "good";
  const lines = [
    `who        ${claims.subject}`,
    `role       ${claims.role}`,
    `world      ${claims.world}`,
    `pin        ${toHex(claims.pin)}`,
    `holder     ${toBase64Url(claims.holderKey)}`,
    `issuer     ${token.issuer}`,
    `issued     ${dateOf(claims.issuedS)}`,
    ...(claims.notBeforeS === claims.issuedS ? [] : [`not before ${dateOf(claims.notBeforeS)}`]),
    `expires    ${dateOf(claims.expiresS)}${isTimely ? "" : " (over)"}`,
    `nonce      ${claims.nonce}`,
    `signature  ${signature}`,
  ];
  return { lines, isGood: isSigned && isTimely };
}

function readKeyFile(file: string): PrivateKey {
  let value: unknown;
  try {
    value = JSON.parse(readSmallFile(file, "--key"));
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw badKey(file, undefined);
  }
  const key = readPrivateKey(value);
  if (key === undefined) throw badKey(file, undefined);
  return key;
}

/** The parser's own words are left out: they may quote the file. */
function badKey(file: string, cause: unknown): CommandError {
  return new CommandError(
    ExitCode.Token,
    `${
      resolve(file)
    } holds no Ed25519 key pair (a JSON Web Key with kty "OKP", crv "Ed25519", x and d). ` +
      "Make one with `token keygen`.",
    { cause },
  );
}

function readSmallFile(file: string, option: string): string {
  const path = resolve(file);
  try {
    if (Deno.statSync(path).size > MAX_FILE_BYTES) {
      throw new CommandError(ExitCode.File, `${path} is too large for what ${option} takes.`);
    }
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const why = error instanceof Deno.errors.NotFound
      ? `there is no such file. Check ${option}; it is relative to the current folder.`
      : whyUnreadable(error, option);
    throw new CommandError(ExitCode.File, `${path} cannot be read: ${why}`, { cause: error });
  }
}

function usage(option: string, what: string): CommandError {
  return new CommandError(ExitCode.Usage, `${option} must be ${what}.`);
}

function dateOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000", "");
}
