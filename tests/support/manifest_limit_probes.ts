// A probe for each limit that bounds a list of the manifest: as many elements as allowed are parsed, one more is a mistake of the operator.

import { assertThrows } from "@std/assert";
import { parseManifest } from "../../permissions/manifest.ts";
import { ManifestError } from "../../permissions/manifest_error.ts";
import * as limits from "../../protocol/limits.ts";
import { type Loose, smallManifest } from "./manifest_samples.ts";

/** What a probe does: throws where the bound does not hold. */
export type Probe = () => void;

/** The text of a small manifest, changed. */
export function manifestWith(edit: (value: Loose) => void): string {
  const value = smallManifest();
  delete value.world.voice;
  delete value.world.components[0].position;
  delete value.world.components[0].interestRadius;
  edit(value);
  return JSON.stringify(value);
}

/** A manifest list that may have `most` elements, and no more. */
function list(most: number, edit: (value: Loose, count: number) => void): Probe {
  const parse = (count: number) => parseManifest(manifestWith((m) => edit(m, count)), "walk");
  return () => {
    parse(most);
    assertThrows(() => parse(most + 1), ManifestError);
  };
}

const count = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

/** By the name of the limit. */
export const MANIFEST_PROBES: Readonly<Record<string, Probe>> = {
  MAX_ROLES: list(limits.MAX_ROLES - 1, (m, n) => {
    m.world.roles = count(n).map((id) => ({ id, name: id === 1 ? "player" : `role${id}` }));
  }),
  MAX_COMPONENTS: list(limits.MAX_COMPONENTS, (m, n) => {
    m.world.components = count(n).map((id) => ({
      id,
      name: `C${id}`,
      fields: { on: { type: "bool" } },
      authority: "server",
      read: ["all"],
      write: [],
      rateHz: 1,
    }));
  }),
  MAX_FIELDS: list(limits.MAX_FIELDS, (m, n) => {
    const names = count(n).map((id) => [`f${id}`, { type: "bool" }]);
    m.world.components[0].fields = Object.fromEntries(names);
  }),
  MAX_EVENTS: list(limits.MAX_EVENTS, (m, n) => {
    m.world.events = count(n).map((id) => ({
      id,
      name: `E${id}`,
      fields: {},
      send: ["player"],
      receive: ["all"],
      rateHz: 1,
    }));
  }),
  MAX_ZONES: list(limits.MAX_ZONES, (m, n) => {
    m.world.zones = count(n).map((id) => ({ id, name: `Z${id}` }));
  }),
  MAX_CHANNELS: list(limits.MAX_CHANNELS, (m, n) => {
    m.world.channels = count(n).map((id) => ({
      id,
      name: `c${id}`,
      mode: "reliable",
      send: ["all"],
      receive: ["all"],
      maxBytes: 10,
      rateHz: 1,
    }));
  }),
  MAX_ENUM_NAMES: list(limits.MAX_ENUM_NAMES, (m, n) => {
    const values = count(n).map((id) => `v${id}`);
    m.world.components[0].fields = { mood: { type: "enum", values } };
  }),
  MAX_ISSUERS: list(limits.MAX_ISSUERS, (m, n) => {
    const key = (id: number) => new Uint8Array(32).fill(id).toBase64({ alphabet: "base64url" });
    m.world.identity = { issuers: count(n).map((id) => key(id).replace("=", "")) };
  }),
  MAX_OVERRIDE_PATHS: list(limits.MAX_OVERRIDE_PATHS, (m, n) => {
    m.host.overridable = { engineSocket: count(n).map((id) => `s${id}.sock`) };
  }),
  MAX_CONNECT_ENDPOINTS: list(limits.MAX_CONNECT_ENDPOINTS, (m, n) => {
    m.host = {
      role: "client",
      engineSocket: "engine.sock",
      connect: count(n).map((id) => `127.0.0.1:${id}`),
    };
  }),
};
