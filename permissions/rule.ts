// The names of every reason for which something is denied, and a sentence for each. A rule is a value that goes to the engine and into
// counters; the contents that were refused never do.

/** Why something was denied. */
export const Rule = {
  /** The manifest names no such component, event, channel or role. */
  Undeclared: "undeclared",
  /** The component has no such field. */
  Field: "field",
  /** The world does not grant it to this role. */
  Role: "role",
  /** Only the server's engine writes this component. */
  Authority: "authority",
  /** The entity belongs to someone else. */
  NotOwner: "notOwner",
  /** The write was made before the server's engine overrode the value, or ownership moved. */
  StaleEpoch: "staleEpoch",
  /** A value lies outside its declared range, or an enum or role has no such number. */
  Range: "range",
  /** A number is NaN or infinite. */
  NotFinite: "notFinite",
  /** More often than declared, tolerance and burst included. */
  Rate: "rate",
  /** More bytes than declared. */
  Size: "size",
  /** This host's own manifest takes the right away. */
  Host: "host",
  /** The role may not spawn, add or remove this component. */
  SpawnRole: "spawnRole",
  /** The peer has as many entities as it may have. */
  SpawnCount: "spawnCount",
  /** No such entity, or it is gone. */
  EntityUnknown: "entityUnknown",
  /** The entity has no such component. */
  ComponentMissing: "componentMissing",
  /** Not something that this side says to that one. */
  Direction: "direction",
  /** The bytes are not of the declared form. */
  Format: "format",
  /** A channel that is not open, or a name outside its namespace. */
  Channel: "channel",
  /** As many open channels as allowed. */
  ChannelCount: "channelCount",
  /** No such peer, or it may not be addressed. */
  Peer: "peer",
  /** The right was revoked from this peer while running. */
  Revoked: "revoked",
  /** The manifest does not let it be granted to single peers. */
  NotGrantable: "notGrantable",
  /** The value breaks a check of the world: bounds, speed, acceleration, step or rate. */
  Check: "check",
} as const;

/** One of the values of {@linkcode Rule}. */
export type Rule = typeof Rule[keyof typeof Rule];

const TEXTS: Readonly<Record<Rule, string>> = {
  undeclared: "the manifest does not declare it",
  field: "the component has no such field",
  role: "the role has no right to it",
  authority: "only the server's engine writes this component",
  notOwner: "the entity belongs to someone else",
  staleEpoch: "the write is older than the last override or transfer of ownership",
  range: "a value lies outside its declared range",
  notFinite: "a number is not finite",
  rate: "it comes more often than declared",
  size: "it is larger than declared",
  host: "this host takes the right away in its own manifest",
  spawnRole: "the role may not spawn, add or remove this component",
  spawnCount: "the peer already has as many entities as it may have",
  entityUnknown: "there is no such entity",
  componentMissing: "the entity has no such component",
  direction: "this side does not send that to the other",
  format: "the bytes are not of the declared form",
  channel: "the channel is not open, or its name lies outside the namespace",
  channelCount: "as many channels are open as allowed",
  peer: "there is no such peer",
  revoked: "the right was revoked from this peer",
  notGrantable: "the manifest does not let it be granted to single peers",
  check: "the value breaks a check of the world",
};

/** A sentence for people; a rule of a newer version is repeated as it is. */
export function ruleText(rule: string): string {
  return Object.hasOwn(TEXTS, rule) ? TEXTS[rule as Rule] : rule;
}

/** Every rule, by its code in control messages: new ones go at the end, none is ever removed. */
const RULES_BY_CODE: readonly Rule[] = Object.values(Rule);

/** The number of a rule in control messages. */
export function ruleCode(rule: Rule): number {
  return RULES_BY_CODE.indexOf(rule);
}

/** The rule with this number; a number of a newer version counts as "role", the most general no. */
export function ruleOfCode(code: number): Rule {
  return RULES_BY_CODE[code] ?? Rule.Role;
}
