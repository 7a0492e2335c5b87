// docs/PROTOCOL.md is whole and its numbers are the driver's: every limit, code and kind that the page quotes is compared with the table it
// comes from, and the decoders of this folder share nothing with the driver.

import { MOTION_TABLES } from "../../replication/coding/motion_tables.ts";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { CloseCode } from "../../protocol/close_codes.ts";
import { DENIAL_SUBJECTS } from "../../protocol/denial_subjects.ts";
import { TO_DRIVER, TO_ENGINE } from "../../protocol/engine_layout.ts";
import { Fault } from "../../protocol/faults.ts";
import * as limits from "../../protocol/limits.ts";
import { LogCode } from "../../protocol/log_codes.ts";
import { Rule, ruleCode } from "../../permissions/rule.ts";
import { TokenRule, tokenRuleCode } from "../../session/join_token.ts";
import { resolveImport } from "../../tools/house_rules.ts";
import { readText, sourceFiles } from "../repo/repository.ts";

const PAGE = readText("docs/PROTOCOL.md");
/** The page with its line breaks and table padding gone. */
const TEXT = PAGE.replaceAll(/\s+/g, " ");

/** A number as the page writes it. */
function n(value: number): string {
  return value.toLocaleString("en-US");
}

const {
  ACK_BLOCK_SPAN,
  ACK_WINDOW,
  ALPN,
  CHANNEL_PIECE_BYTES,
  CHANNEL_WINDOW_BYTES,
  ENGINE_BACKLOG_BYTES,
  ENGINE_HEARTBEAT_MS,
  ENGINE_LINK_VERSION,
  ENGINE_TIMEOUT_MS,
  IDLE_TIMEOUT_MS,
  JOIN_TIMEOUT_MS,
  KEEP_ALIVE_MS,
  LOSS_PACKET_THRESHOLD,
  LOSS_TIME_FACTOR,
  MAX_APPLICATION_CODE,
  MAX_BATCH_BYTES,
  MAX_CLOSE_REASON_BYTES,
  MAX_CONTROL_MESSAGE_BYTES,
  MAX_DATAGRAM_BYTES,
  MAX_DATAGRAM_SECTIONS,
  MAX_DECLARED_ID,
  MAX_DENIAL_REPORTS_PER_S,
  MAX_ENGINE_FRAME_BYTES,
  MAX_ENGINE_MESSAGES,
  MAX_ENGINE_TEXT_BYTES,
  MAX_ENGINE_VOICE_FRAMES,
  MAX_ENTITIES,
  MAX_ENTITY_BLOCK,
  MAX_EVENT_BYTES,
  MAX_EVENT_ROW_BYTES,
  MAX_EVENT_WAIT_MS,
  MAX_FIELDS,
  MAX_LISTED_ACK_RUNS,
  MAX_LOG_ANSWER,
  MAX_LOG_ENTRIES,
  MAX_MSGPACK_DEPTH,
  MAX_MSGPACK_ITEMS,
  MAX_NAME_BYTES,
  MAX_OPEN_CHANNELS,
  MAX_OPUS_PACKET_BYTES,
  MAX_PEERS,
  MAX_PENDING_LOGS,
  MAX_PLAIN_CHANNELS,
  MAX_REASON_BYTES,
  MAX_RESUME_TICKET_BYTES,
  MAX_SEALED_OVERHEAD_BYTES,
  MAX_SECTION_BYTES,
  MAX_STATS,
  MAX_STREAM_FRAME_BYTES,
  MAX_STREAMS_PER_PEER,
  MAX_TIME_AHEAD_MS,
  MAX_UNACKED_RECEIVED,
  MAX_VOICE_AGE_SUBTICKS,
  MAX_VOICE_FRAMES,
  MAX_WAITING_EVENTS,
  MIN_DATAGRAM_BYTES,
  OWNER_TIME_AHEAD_MS,
  OWNER_TIME_BEHIND_MS,
  PROTOCOL_VERSION,
  RATE_BURST_S,
  RATE_TOLERANCE,
  RECEIVE_MARGIN_TICKS,
  RESYNC_CONFIRM_MS,
  SPARE_STREAMS,
  SPAWN_WAIT_MS,
  TIMELINE_DRIFT,
  TIMELINE_SLEW,
  TIMELINE_WINDOW_MS,
  WORLD_EPOCH_BITS,
} = limits;

/** Sentences of the page with the driver's numbers in them. */
const QUOTES: readonly string[] = [
  `**Declared id**: a \`varint\` of at most ${n(MAX_DECLARED_ID)}`,
  // Chapter 2.
  `1 to ${MAX_ENGINE_FRAME_BYTES / 2 ** 20} MiB (\`MAX_ENGINE_FRAME_BYTES\`)`,
  `str of at most ${n(MAX_ENGINE_TEXT_BYTES)} bytes of UTF-8`,
  `arrays, nested at most ${MAX_MSGPACK_DEPTH} deep`,
  `hold at most ${n(MAX_MSGPACK_ITEMS)} items`,
  `\`text64\`: 1 to ${MAX_NAME_BYTES} bytes`,
  `at most ${n(MAX_ENTITIES)} |`,
  `resume bin(${n(MAX_RESUME_TICKET_BYTES)})`,
  `row bin(${n(MAX_EVENT_ROW_BYTES)})`,
  `piece bin(${n(CHANNEL_PIECE_BYTES)})`,
  `\`bytes\` 1 to ${n(CHANNEL_WINDOW_BYTES)} |`,
  `frame bin(1..${n(MAX_OPUS_PACKET_BYTES)})`,
  `at most ${n(MAX_STATS)} pairs`,
  `the ${n(MAX_EVENT_BYTES)} bytes of an event and 16 bytes for each of ${MAX_FIELDS} fields`,
  `\`linkVersion\` (${ENGINE_LINK_VERSION})`,
  `not confirmed within ${RESYNC_CONFIRM_MS / 1_000} s (a client)`,
  `sends \`ping\` every ${ENGINE_HEARTBEAT_MS} ms`,
  `heard nothing for ${n(ENGINE_TIMEOUT_MS)} ms`,
  `Above ${ENGINE_BACKLOG_BYTES / 2 ** 20} MiB of unsent bytes (\`ENGINE_BACKLOG_BYTES\`)`,
  `closed at ${MAX_BATCH_BYTES / 2 ** 20} MiB of rows`,
  `voice frames wait, ${MAX_ENGINE_VOICE_FRAMES} at most`,
  `events and commands wait, ${n(MAX_ENGINE_MESSAGES)} at most`,
  `may send ${n(CHANNEL_WINDOW_BYTES)} bytes of pieces`,
  `reported at most ${MAX_DENIAL_REPORTS_PER_S} times a second`,
  `\`log\`: at most ${MAX_LOG_ANSWER} entries`,
  `of ${n(MAX_LOG_ENTRIES)} entries the oldest makes room`,
  `asks at most ${MAX_PENDING_LOGS} at a time`,
  // Chapter 3.
  `The ALPN name is \`${ALPN}\``,
  `a packet after ${n(KEEP_ALIVE_MS)} ms of silence`,
  `${n(IDLE_TIMEOUT_MS)} ms; the shorter of both ends' counts`,
  `bidirectional streams open at once, by one end | ${MAX_STREAMS_PER_PEER} |`,
  `may have open at once, and ${SPARE_STREAMS} (\`SPARE_STREAMS\`)`,
  `A receiver drops one above ${n(MAX_DATAGRAM_BYTES)} bytes`,
  `${n(MIN_DATAGRAM_BYTES)} bytes is the least it may count on`,
  `varint \`n\` of 1..${n(MAX_STREAM_FRAME_BYTES)}`,
  `UTF-8 reason of at most ${MAX_CLOSE_REASON_BYTES} bytes`,
  `1 to ${n(MAX_CONTROL_MESSAGE_BYTES)}, at most 3 bytes`,
  `varint protocol version (${PROTOCOL_VERSION};`,
  `text reason (at most ${MAX_REASON_BYTES} bytes)`,
  `varint count (at most ${n(MAX_PEERS)}), each: u16 peer`,
  `_Entity ids_: varint count (at most ${n(MAX_ENTITY_BLOCK)})`,
  `a whole join within ${JOIN_TIMEOUT_MS / 1_000} s`,
  // Chapter 4.
  `world epoch | bits(${WORLD_EPOCH_BITS}) |`,
  `together at most ${ACK_BLOCK_SPAN} datagrams`,
  `bits(1), ${ACK_BLOCK_SPAN - 1} times`,
  `Form 1 is for 1 to ${MAX_LISTED_ACK_RUNS} runs`,
  `at once when ${MAX_UNACKED_RECEIVED} are owed`,
  `at most ${MAX_DATAGRAM_SECTIONS} of:`,
  `1 to ${n(MAX_SECTION_BYTES)} |`,
  `Size: at most ${n(MAX_DATAGRAM_BYTES)} bytes`,
  `more than ${ACK_WINDOW - 1} behind the newest`,
  `not more than ${n(MAX_TIME_AHEAD_MS)} ms ahead of it`,
  `after 1.5 round trips`,
  `Of the last ${TIMELINE_WINDOW_MS / 1_000} s`,
  `${TIMELINE_DRIFT * 1e6} millionths of its age`,
  `at most ${TIMELINE_SLEW * 100} % of the time that passes`,
  // Chapter 5.
  `H + ${RECEIVE_MARGIN_TICKS} ticks (\`RECEIVE_MARGIN_TICKS\`)`,
  `at the latest after ${SPAWN_WAIT_MS / 1_000} s`,
  `${RATE_TOLERANCE} x \`rateHz\`, burst ${RATE_BURST_S} s`,
  `more than ${
    n(OWNER_TIME_BEHIND_MS)
  } ms behind the present nor as more than ${OWNER_TIME_AHEAD_MS} ms ahead`,
  // Chapter 6.
  `1 to ${MAX_VOICE_FRAMES} of them`,
  `1 to ${n(MAX_OPUS_PACKET_BYTES)}; sealed: to ${
    n(MAX_OPUS_PACKET_BYTES + MAX_SEALED_OVERHEAD_BYTES)
  }`,
  `at most ${n(MAX_VOICE_AGE_SUBTICKS)} and not before`,
  // Chapter 7.
  `at most ${n(MAX_EVENT_BYTES)} |`,
  `never over ${MAX_EVENT_WAIT_MS / 1_000} s`,
  `at most ${MAX_WAITING_EVENTS} events a peer`,
  `above ${MAX_OPEN_CHANNELS} channels of one peer`,
  `(one that is no namespace: ${MAX_PLAIN_CHANNELS},`,
  `length at most ${n(CHANNEL_PIECE_BYTES)}; 0 only in a last piece`,
];

Deno.test("docs/PROTOCOL.md quotes every limit as the driver has it, when their sentences are looked for", () => {
  const missing = QUOTES.filter((quote) => !TEXT.includes(quote));
  assertEquals(missing, []);
  assertEquals(MAX_APPLICATION_CODE, 2 ** 30 - 1);
  assertEquals(LOSS_PACKET_THRESHOLD, 3);
  assertEquals(LOSS_TIME_FACTOR, 1.5);
});

Deno.test("docs/PROTOCOL.md names only limits that there are, when it names one", () => {
  const named = [...PAGE.matchAll(/`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`/g)].map((match) => match[1]!);
  assertGreater(named.length, 5);
  assertEquals(named.filter((name) => !(name in limits)), []);
});

Deno.test("docs/PROTOCOL.md lists faults and close codes as the driver has them, when its table is read", () => {
  const chapter = PAGE.slice(PAGE.indexOf("## 8."));
  const rows = [...chapter.matchAll(/^\| (\d+)\s+\| (\w+)\s+\|/gm)];
  const listed = Object.fromEntries(rows.map(([, code, name]) => [name!, Number(code)]));
  assertEquals(listed, { ...Fault, ...CloseCode });
  for (const [, name] of PAGE.matchAll(/\(`([A-Z][A-Za-z0-9]+)`\)/g)) {
    if (!/^[A-Z]+_/.test(name!)) assert(name! in listed, `${name} is a fault or a close code`);
  }
});

Deno.test("docs/PROTOCOL.md lists the codes of the log as the driver has them, when its table is read", () => {
  const chapter = PAGE.slice(PAGE.indexOf("### 2.11"), PAGE.indexOf("## 3."));
  const rows = [...chapter.matchAll(/^\| (\d+)\s+\| (\w+)\s+\|/gm)];
  const listed = Object.fromEntries(rows.map(([, code, name]) => [name!, Number(code)]));
  assertEquals(listed, { ...LogCode });
  const rules = Object.values(TokenRule).map((rule) => `${tokenRuleCode(rule)} ${rule}`).join(", ");
  assert(TEXT.includes(`Rules of join tokens (3.3) are ${rules}.`));
});

Deno.test("docs/PROTOCOL.md numbers rules and subjects of denials as the driver does, when its table is read", () => {
  const rows = [...PAGE.matchAll(/\| (\d+)\s+\| `([a-z][A-Za-z]+)`\s+(?=\|)/g)];
  const control = PAGE.slice(PAGE.indexOf("### 3.2"), PAGE.indexOf("**Joining.**"));
  const listed = rows.filter(([row]) => control.includes(row)).map(([, code, rule]) => [
    rule,
    Number(code),
  ]);
  assertEquals(
    Object.fromEntries(listed),
    Object.fromEntries(Object.values(Rule).map((rule) => [rule, ruleCode(rule)])),
  );
  const subjects = DENIAL_SUBJECTS.map((subject, code) => `${code} ${subject}`).join(", ");
  assert(TEXT.includes(`u8 subject (${subjects})`));
});

Deno.test("docs/PROTOCOL.md lists the kinds and fields of the engine link as the driver has them, when its tables are read", () => {
  const tables = [["### 2.4", TO_ENGINE], ["### 2.5", TO_DRIVER]] as const;
  for (const [title, layouts] of tables) {
    const from = PAGE.indexOf(title);
    const chapter = PAGE.slice(from, PAGE.indexOf("\n#", from));
    const rows = [...chapter.matchAll(/^\| (\d+)\s+\| `(\w+)`\s+\| (.*) \|$/gm)];
    const listed = Object.fromEntries(rows.map(([, code, kind]) => [kind!, Number(code)]));
    const numbers = Object.entries(layouts).map(([kind, { number }]) => [kind, number]);
    assertEquals(listed, Object.fromEntries(numbers));
    for (const [, , kind, cells] of rows) {
      // What is one array on the wire has no name of its own on the page.
      if (kind === "denied" || kind === "stats") continue;
      const fields = [...cells!.matchAll(/`([a-z]\w+)(?: [^`]*)?`/gi)].map((match) => match[1]!);
      const known = Object.keys(layouts[kind as keyof typeof layouts]["fields"]);
      assertEquals(fields.filter((field) => known.includes(field)), known, `fields of ${kind}`);
    }
  }
});

Deno.test("docs/PROTOCOL.md has all its chapters, none of them empty, when it is read through", () => {
  const chapters = PAGE.split(/^## /m).slice(1);
  assertEquals(chapters.map((chapter) => Number(/^\d+/.exec(chapter))), [1, 2, 3, 4, 5, 6, 7, 8]);
  for (const chapter of chapters) assertGreater(chapter.length, 1_500);
});

Deno.test("the decoders of this folder import nothing of the driver, when their imports are followed", () => {
  const own = "tests/conformance/";
  const glue = ["recording.ts", "meaning.ts", "scene.ts"].map((name) => own + name);
  const files = sourceFiles().filter((path) =>
    path.startsWith(own) && !path.endsWith("_test.ts") && !glue.includes(path)
  );
  assertGreater(files.length, 9);
  for (const path of files) {
    for (const [, specifier] of readText(path).matchAll(/from "([^"]+)"/g)) {
      assert(specifier!.startsWith("./"), `${path} imports ${specifier}`);
      assert(!glue.includes(resolveImport(path, specifier!)), `${path} imports ${specifier}`);
    }
  }
});

Deno.test("docs/motion_tables.json holds the tables that the driver codes with", () => {
  const path = new URL("../../docs/motion_tables.json", import.meta.url);
  assertEquals(JSON.parse(Deno.readTextFileSync(path)), MOTION_TABLES);
});
