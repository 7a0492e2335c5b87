// A sentence for each code of a driver's log. Names of roles, components, events and channels come from the engine's own tables, never from
// the driver, which sends numbers alone.

import { closeCodeName } from "../protocol/close_codes.ts";
import { DENIAL_SUBJECTS } from "../protocol/denial_subjects.ts";
import { LogCode, logCodeName } from "../protocol/log_codes.ts";
import type { Grants } from "../permissions/grants.ts";
import { ruleOfCode, ruleText } from "../permissions/rule.ts";
import { TOKEN_REFUSALS, tokenRuleOfCode } from "../session/join_token.ts";

type Numbers = readonly [a: number, b: number, c: number, d: number];
type Sentence = (numbers: Numbers, grants: Grants) => string;

const ROLES_OF_DRIVERS = ["server", "client", "loopback"];

const SENTENCES: Readonly<Record<LogCode, Sentence>> = {
  [LogCode.GivenUp]: ([code]) => `left the world for good: ${closeCodeName(code)}`,
  [LogCode.CertificateEnding]: ([s]) => `the certificate ends on ${dayOf(s)}: renew it`,
  [LogCode.ConnectionRefused]: ([code, waiting]) =>
    `a connection was refused: ${closeCodeName(code)}; ${waiting} wait to join`,
  [LogCode.JoinRefused]: ([code]) => `a join was refused: ${closeCodeName(code)}`,
  [LogCode.TokenRefused]: ([code]) => {
    const rule = tokenRuleOfCode(code);
    return `a join token was refused: ${rule === undefined ? code : TOKEN_REFUSALS[rule]}`;
  },
  [LogCode.ResumeRefused]: ([peer]) => `a resume secret for the place of peer ${peer} was refused`,
  [LogCode.TokensFull]: () => "a join token was refused: too many were used of late",
  [LogCode.Faulty]: ([peer, code]) => `bytes of peer ${peer} were refused: ${closeCodeName(code)}`,
  [LogCode.Flooding]: ([peer]) => `peer ${peer} was dropped: too much of what it sent was wrong`,
  [LogCode.Unresponsive]: ([peer, code]) =>
    `peer ${peer} was dropped: it does not take what it is sent (${closeCodeName(code)})`,
  [LogCode.Denied]: ([peer, rule, subject, id], grants) =>
    `peer ${peer} was denied ${subjectText(subject, id, grants)}: ${ruleText(ruleOfCode(rule))}`,
  [LogCode.Unwritten]: ([count]) => `${count} further entries of that second found no room`,
  [LogCode.Left]: ([code]) => `out of the world, trying again: ${closeCodeName(code)}`,
  [LogCode.ServerFaulty]: ([code]) =>
    `bytes of the server were refused, and the connection ended: ${closeCodeName(code)}`,
  [LogCode.Shed]: ([peer, kb]) =>
    `the connection of peer ${peer} was ended because memory ran short; ${kb} KB were held for it`,
  [LogCode.Started]: ([role]) => `started as ${ROLES_OF_DRIVERS[role] ?? role}`,
  [LogCode.Schema]: (words) =>
    `its world has the schema ${words.map((word) => hex(word)).join("")}...`,
  [LogCode.CertificateUntil]: ([s]) => `the certificate is valid to ${dayOf(s)}`,
  [LogCode.EngineLinked]: ([entities, resumes]) =>
    `the engine welcomed it with ${entities} entities, ${
      resumes === 0 ? "to join anew" : "to resume"
    }`,
  [LogCode.Listening]: () => "the network is open",
  [LogCode.PeerJoined]: ([peer, role], grants) =>
    `peer ${peer} joined as ${roleText(role, grants)}`,
  [LogCode.PeerResumed]: ([peer, role], grants) =>
    `peer ${peer} is back as ${roleText(role, grants)}`,
  [LogCode.PeerLeft]: ([peer, code]) => `peer ${peer} is gone for good: ${closeCodeName(code)}`,
  [LogCode.PeerLost]: ([peer]) => `the connection of peer ${peer} broke, its place is kept`,
  [LogCode.RoleChanged]: ([peer, role], grants) => `peer ${peer} is now ${roleText(role, grants)}`,
  [LogCode.Joined]: ([peer, role, resumed], grants) =>
    `${resumed === 0 ? "joined" : "resumed"} as peer ${peer}, ${roleText(role, grants)}`,
  [LogCode.TokenUsed]: ([peer]) => `peer ${peer} showed a good join token`,
  [LogCode.GrantsChanged]: ([peer, id], grants) =>
    `peer ${peer} has other rights to ${subjectText(0, id, grants)}`,
  [LogCode.CheckBroken]: ([peer, id, field], grants) =>
    `peer ${peer} broke a check on ${subjectText(0, id, grants)}, ${fieldText(id, field, grants)}`,
  [LogCode.Connected]: ([waiting]) => `somebody connected; ${waiting} wait to join`,
  [LogCode.Disconnected]: ([code]) =>
    `a connection ended before it had joined: ${closeCodeName(code)}`,
  [LogCode.Connecting]: ([times]) => `connecting, for the ${times}. time`,
  [LogCode.EngineSlow]: () => "the engine does not read as fast as it is told",
};

/** The sentence of an entry; a code of a newer driver is repeated as it is. */
export function logText(grants: Grants, code: number, numbers: readonly number[]): string {
  const sentence = (SENTENCES as Readonly<Record<number, Sentence>>)[code];
  const [a = 0, b = 0, c = 0, d = 0] = numbers;
  return sentence === undefined
    ? `${logCodeName(code)}: ${numbers.join(", ")}`
    : sentence([a, b, c, d], grants);
}

function roleText(id: number, { roles }: Grants): string {
  const role = roles.find((one) => one.id === id);
  return role === undefined ? `role ${id}` : `"${role.name}"`;
}

function fieldText(id: number, field: number, { components }: Grants): string {
  const name = components.find((one) => one.id === id)?.fields[field]?.name;
  return name === undefined ? `field ${field}` : `field "${name}"`;
}

function subjectText(subject: number, id: number, grants: Grants): string {
  const word = DENIAL_SUBJECTS[subject] ?? `subject ${subject}`;
  const tables: Readonly<Record<string, readonly { id: number; name: string }[]>> = {
    component: grants.components,
    spawn: grants.components,
    event: grants.events,
    channel: grants.channels,
  };
  const name = tables[word]?.find((one) => one.id === id)?.name;
  if (name !== undefined) return `${word} "${name}"`;
  return id === 0 ? word : `${word} ${id}`;
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}

/** Day of a second since 1970, by the proleptic Gregorian calendar: `yyyy-mm-dd`. */
function dayOf(second: number): string {
  // Days are counted from the first of March of the year 0, so that the day that leap years add comes last.
  const days = Math.floor(second / 86_400) + 719_468;
  const era = Math.floor(days / 146_097);
  const dayOfEra = days - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1_460) + Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) -
    Math.floor(yearOfEra / 100));
  const month = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * month + 2) / 5) + 1;
  const inYear = month < 10 ? month + 3 : month - 9;
  const year = yearOfEra + era * 400 + (inYear <= 2 ? 1 : 0);
  return [String(year), String(inYear).padStart(2, "0"), String(day).padStart(2, "0")].join("-");
}
