// What a denial can be about, on the wire and in reports. Why something was denied is the gate's business.

/** What a denial is about; its code on the wire is the position here. */
export const DENIAL_SUBJECTS = [
  "component",
  "event",
  "channel",
  "voice",
  "spawn",
  "despawn",
  "zone",
] as const;

/** One of {@linkcode DENIAL_SUBJECTS}. */
export type DenialSubject = typeof DENIAL_SUBJECTS[number];
