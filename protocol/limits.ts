// Every bound of the driver in one table: number, unit, reason. A loop, queue, map or string without a row here is a mistake.

/** Version of the network protocol; peers of another version are refused. */
export const PROTOCOL_VERSION = 2;
/** Application-layer protocol name of the QUIC handshake (RFC 7301). */
export const ALPN = "syncra/1";
/** Version of the engine link; an engine of another version is refused with a message that names both. */
export const ENGINE_LINK_VERSION = 1;

// ---- world
/** Components a manifest may declare: component masks on the wire and in the gate stay small. */
export const MAX_COMPONENTS = 256;
/** Fields a component may declare: a field mask is one 32-bit word with the sign bit unused. */
export const MAX_FIELDS = 31;
/** Roles a manifest may declare, the built-in `server` included: a role mask is one 32-bit word with the sign bit unused. */
export const MAX_ROLES = 31;
/** Zones a manifest may declare, and the largest id of one: the zone of an entity is one byte, 0 for none. */
export const MAX_ZONES = 255;
/** Event types a manifest may declare. */
export const MAX_EVENTS = 1024;
/** Channel declarations of a manifest. */
export const MAX_CHANNELS = 256;
/** Largest explicit id of a component, event, channel or role: two bytes as a varint. */
export const MAX_DECLARED_ID = 16_383;
/** Entities of one world: slots of 20 bits, bounded further so that the columns of a driver stay below a few hundred MB. */
export const MAX_ENTITIES = 131_072;
/** Peers of one server; peer ids are 16 bits, memory per peer sets the practical bound. */
export const MAX_PEERS = 1_024;
/** UTF-8 bytes of a declared name. */
export const MAX_NAME_BYTES = 64;
/** Bytes of one `string` or `bytes` field; larger values belong on a channel. */
export const MAX_FIELD_BYTES = 65_536;
/** Ticks a second that a world may ask for. */
export const MAX_TICK_HZ = 120;
/** Values of one entity's component a second: the fastest trackers give 240 poses a second. */
export const MAX_COMPONENT_RATE_HZ = 240;
/** Events of one type a second from one sender; anything faster is state or a channel. */
export const MAX_EVENT_RATE_HZ = 240;
/** Names of one enum: its number takes two bytes in a row, its list stays readable. */
export const MAX_ENUM_NAMES = 1_024;
/** Steps from zero to the end of an f32 or vec3 range: a 32-bit float holds 2^24 exactly, the two spare bits keep its rounding below a step. */
export const MAX_STEPS_FROM_ZERO = 4_194_304;
/** Fewest bits of a quaternion component: with 4 the angle is off by up to 10 degrees. */
export const MIN_QUAT_BITS = 4;
/** Most bits of a quaternion component: 16 is below what a float's rotation means. */
export const MAX_QUAT_BITS = 16;
/** Smallest error in degrees that a quat's lattice may be declared to have: its lanes then take 14 bits, and float32 still tells its points apart. */
export const MIN_QUAT_PRECISION = 0.02;
/** Largest such error in degrees: coarser ones are seen as jumps, and a lattice of so few points saves nothing. */
export const MAX_QUAT_PRECISION = 5;
/** Interest radius and voice range, metres: beyond this "everywhere" is meant. */
export const MAX_INTEREST_RADIUS = 1_000_000;
/** Largest declared weight of a component: with nearness, one may count 32 times as much as another. */
export const MAX_WEIGHT = 8;
/** Shortest time, ms, that replaced values are kept: half a second of a bad link's round trips. */
export const MIN_HISTORY_MS = 250;
/** Longest time, ms, that replaced values are kept: memory, and 16-bit ticks (9 minutes at 120 Hz) stay far from wrapping. */
export const MAX_HISTORY_MS = 10_000;
/** Longest time, ms, that a lost peer's place is kept: one hour. */
export const MAX_RESUME_MS = 3_600_000;

// ---- manifest and host
/** Characters of a manifest file: the largest legal world is far below it. */
export const MAX_MANIFEST_CHARS = 4 * 1024 * 1024;
/** Nesting of a manifest: the deepest key has 8 levels, the parser recurses. */
export const MAX_MANIFEST_DEPTH = 32;
/** Shortest prefix, bits, of a network in `host.connect`: the largest private one is 10.0.0.0/8, more is no list of endpoints. */
export const MIN_NETWORK_PREFIX = 8;
/** Bytes of a file path in a manifest: PATH_MAX of Linux. */
export const MAX_PATH_BYTES = 4_096;
/** Bytes of a Unix socket's absolute path: `sun_path` holds 108 with the final zero on Linux, 104 on macOS. */
export const MAX_SOCKET_PATH_BYTES = 103;
/** Paths that a manifest may list for a sealed driver to be pointed to: each becomes a right of the executable. */
export const MAX_OVERRIDE_PATHS = 16;
/** Endpoints a client may name. */
export const MAX_CONNECT_ENDPOINTS = 64;
/** Bytes a second to one peer unless the host says otherwise: 2 Mbit/s, what a home line gives an application. */
export const DEFAULT_PEER_BYTES_PER_S = 256_000;
/** Bytes a second to a peer that has just joined, unless the host says otherwise: 1 Mbit/s, 5,000 entities of 12 B in half a second. */
export const DEFAULT_JOIN_BYTES_PER_S = 128_000;
/** Time for which a join's bytes a second count, ms, unless the host says otherwise: after it the peer has what everyone has. */
export const DEFAULT_JOIN_MS = 2_000;
/** Longest time for which a join's bytes a second may count, ms: longer is no join but a budget. */
export const MAX_JOIN_MS = 60_000;
/** Fewest bytes a second to one peer: below this not even voice and acknowledgements pass. */
export const MIN_PEER_BYTES_PER_S = 4_000;
/** Most bytes a second to one peer: 1 Gbit/s. */
export const MAX_PEER_BYTES_PER_S = 125_000_000;
/** Smallest script heap, MB, in which a driver starts. */
export const MIN_HEAP_MB = 32;
/** Largest script heap, MB: 64 GB. */
export const MAX_HEAP_MB = 65_536;
/** Smallest resident size, MB, in which a driver starts: the runtime alone takes about 100. */
export const MIN_MEMORY_MB = 128;
/** Largest resident size, MB: 1 TB. */
export const MAX_MEMORY_MB = 1_048_576;
/** Largest resident size, MB, that a manifest which does not name one stands for: half of a small server; a world that may need more says so. */
export const DEFAULT_MEMORY_MB = 4_096;
/** Interval, ms, at which the resident size is looked at: at 100 MB/s, more than the network brings, it grows by 10 MB between two looks. */
export const MEMORY_SAMPLE_MS = 100;
/** Share of the allowed resident size above which peers are shed: 85 %. */
export const MEMORY_SOFT_SHARE = 0.85;
/** Share of it above which the driver ends, while it still can say so: 95 %. */
export const MEMORY_HARD_SHARE = 0.95;
/** Share of it by which the size must grow after one peer was shed before the next is: freed memory is not given back at once. */
export const MEMORY_SHED_STEP = 0.02;
/** Least time, ms, between two peers shed: one collection of the script heap. */
export const MEMORY_SHED_PAUSE_MS = 500;
/** Least time, ms, between two collections of garbage while memory is short: each holds everything up for 5 ms to 100 ms. */
export const MEMORY_COLLECT_MS = 1_000;
/** Bytes of the empty buffer whose allocation makes the runtime collect its garbage: 128 MiB do, and untouched they cost no memory. */
export const COLLECT_PROMPT_BYTES = 256 * 1024 * 1024;
/** Longest time, s, that log entries stay in memory: one day. */
export const MAX_RETENTION_S = 86_400;
/** Time, s, that log entries stay in memory unless the host says otherwise: long enough to look after an alarm, too short for a history. */
export const DEFAULT_RETENTION_S = 60;

// ---- log
/** Entries of a driver's log, 40 B each: about 200 a second may be written at worst, so five seconds of an attack and hours of peace. */
export const MAX_LOG_ENTRIES = 1_024;
/** Numbers beside the code of a log entry: a denial names peer, rule, subject and id. */
export const LOG_ARGUMENTS = 4;
/** Time, ms, over which equal log entries are one with a count. */
export const LOG_SUM_MS = 1_000;
/** Different entries that are summed at once; what is more within that time is only counted. */
export const MAX_LOG_SUMS = 96;
/** Log entries in one answer to the engine: 8 KiB; it asks again for more. */
export const MAX_LOG_ANSWER = 256;
/** Answers about the log that an engine may have asked for and not been given. */
export const MAX_PENDING_LOGS = 16;

// ---- gate
/** A gate allows this multiple of a declared rate before it drops: clocks and links are not even. */
export const RATE_TOLERANCE = 1.25;
/** Burst that a gate allows, seconds at the tolerated rate. */
export const RATE_BURST_S = 0.5;
/** Delay variation, ms, that a gate forgives a reliable stream: a few retransmissions of one packet hold up all that follows. */
export const STREAM_STALL_MS = 2_000;
/** Smallest burst of any rate: two messages may meet in one slot by jitter alone. */
export const MIN_RATE_BURST = 2;
/** Kinds of denials counted apart by rule, subject and id; ids come from outside, so the rest is counted together. */
export const MAX_DENIAL_KINDS = 1_024;
/** Answers of a gate that are kept to be given again, one for each rule and set of fields; further ones are made anew. */
export const MAX_KEPT_DENIALS = 1_024;
/** Denial reports that wait for their turn; further kinds are only counted. */
export const MAX_PENDING_DENIALS = 256;

// ---- checks of peers' writes
/** Fields of a world that may be checked: each keeps up to 200 B of history an entity. */
export const MAX_CHECKS = 64;
/** Seconds of the greatest speed that a check holds ready while writes come steadily: the jitter of path and sender. */
export const CHECK_BURST_S = 0.5;
/** Seconds of silence that count as movement all the same: a path that was gone so long lost honest steps. */
export const CHECK_SILENCE_S = 2;
/** Multiple of a declared speed, acceleration and step that passes: the timeline is slewed by 1 %, rounding makes paths a little longer. */
export const CHECK_TOLERANCE = 1.05;
/** Seconds over which a velocity is measured at least: with less, an error of a sample time counts for more than the movement. */
export const CHECK_WINDOW_S = 0.25;
/** Error, s, of a sample time that acceleration checks forgive, once: an engine's frame and its driver's next look at the socket. */
export const CHECK_STAMP_ERROR_S = 0.05;
/** Time, ms, from its end on, for which a peer's only entity with a checked component is remembered: to spawn anew is no way to travel. */
export const CHECK_MEMORY_MS = 10_000;
/** Ended entities remembered for that; of more the oldest is forgotten. */
export const MAX_CHECK_MEMORIES = 1_024;
/** Violations of a kind (peer, field, check) that wait to be told to the engine; further kinds are only counted. */
export const MAX_PENDING_VIOLATIONS = 256;
/** Reports of violations a second of one peer to the engine; those between are summed. */
export const MAX_VIOLATION_REPORTS_PER_S = 4;

// ---- datagrams
/** Payload assumed to pass everywhere before path discovery: QUIC's 1,200 B initial packet less its headers. */
export const MIN_DATAGRAM_BYTES = 1_150;
/** Largest datagram taken from a peer: what path discovery reaches on an Ethernet link, with room. */
export const MAX_DATAGRAM_BYTES = 1_500;
/** Datagrams that acknowledgements look back over. */
export const ACK_WINDOW = 512;
/** Datagrams that one acknowledgement block speaks of, the largest included: run and gap lengths fit a byte. */
export const ACK_BLOCK_SPAN = 256;
/** Ranges in one acknowledgement: alternate loss over 256 datagrams. */
export const MAX_ACK_RANGES = 128;
/** An acknowledgement goes out at the latest after this many datagrams. */
export const MAX_UNACKED_RECEIVED = 16;
/** Datagrams sent to one peer in one tick: bounds what a joining peer can cost the others. */
export const MAX_DATAGRAMS_PER_TICK = 16;
/** Entries of one snapshot section; the datagram's size bounds it too. */
export const MAX_SNAPSHOT_ENTRIES = 1_024;
/** Bytes of one piece of a value that is larger: beside header and a voice frame it fits a datagram of 1,150 B. */
export const SNAPSHOT_PIECE_BYTES = 960;
/** Values on their way in pieces on one link, either end: bounds the receiver's unfinished values to this many of the largest. */
export const MAX_PIECE_TRANSFERS = 4;
/** Ticks that a receiver holds references longer than a sender may use them: covers datagrams that overtake each other. */
export const RECEIVE_MARGIN_TICKS = 64;
/** Received entities whose age is looked at with each snapshot section: all of 1,000 within a second at 30 Hz. */
export const RECEIVE_SWEEP_ENTITIES = 32;
/** Entities out of a peer's view whose end is looked for each tick: 10,000 of them within six seconds at 30 Hz. */
export const DORMANT_CHECKS_PER_TICK = 64;
/** Entities that may fail to fit before a snapshot section counts as full: small ones fill the gap behind a large one. */
export const MAX_SECTION_MISSES = 16;
/** Times a section is filled up with the bits that its upper bounds overestimated. */
export const MAX_SECTION_ROUNDS = 3;

/** Encodings kept for other links of the tick: 4,096 moving entities under two masks; 0.6 MB of keys. */
export const MAX_SHARED_ENCODINGS = 8_192;
/** Bytes of their bits: 32 for each; what comes on top is coded anew for each link. */
export const MAX_SHARED_BYTES = 262_144;
/** Pairs of a component and a mask whose values go in step, 20 bytes an entity each: what moves at one time; others go singly. */
export const MAX_STEP_LENSES = 16;
/** Versions under way that a link remembers of what went out of step: 512 entities at 8 ticks of round trip. What is forgotten goes again. */
export const MAX_LATE_ENTRIES = 4_096;

// ---- versions
/** Versions kept of one component of one entity: two seconds at 30 Hz with some room; memory per moving component is 64 rows. */
export const MAX_VERSIONS = 64;
/** Calls, one a tick, in which an expiry sweep goes over all rows with history: an idle row is freed at most two sweeps late. */
export const EXPIRE_SWEEP_TICKS = 8;

/** Runs of an acknowledgement written one by one; with more, a bit for each of the 255 datagrams before the largest is shorter. */
export const MAX_LISTED_ACK_RUNS = 16;
/** Sections of one datagram: a snapshot, a voice section and some channel messages; bounds the work an attacker buys with one datagram. */
export const MAX_DATAGRAM_SECTIONS = 64;
/** Bytes of one section: the datagram's bound is the tighter one, this is what the 12-bit length can say. */
export const MAX_SECTION_BYTES = 4_095;
/** Sent datagrams that are remembered until acknowledged or lost: 16 a tick over half a second at 120 Hz; a power of two. */
export const SENT_LOG_ENTRIES = 1_024;
/** Entries of state that are remembered of one peer's sent datagrams, a power of two: 5,000 entities with five components and some repetition. */
export const MAX_LOGGED_ENTRIES = 32_768;
/** A datagram counts as lost when one sent this many later was acknowledged (RFC 9002 section 6.1.1). */
export const LOSS_PACKET_THRESHOLD = 3;
/** A datagram counts as lost this many round trips after sending; wider than RFC 9002's 9/8, as state is not retransmitted but renewed. */
export const LOSS_TIME_FACTOR = 1.5;
/** Shortest time, ms, after which a datagram counts as lost: timers are no finer (RFC 9002 section 6.1.2). */
export const MIN_LOSS_TIME_MS = 1;
/** Round-trip time, ms, assumed before the first sample (RFC 9002 section 6.2.2). */
export const INITIAL_RTT_MS = 333;

// ---- timeline
/** Bits of the world epoch that ride in each datagram: eight moves of authority within one network delay do not happen. */
export const WORLD_EPOCH_BITS = 3;
/** Latest tick at which a world may be joined: a day at 120 Hz before ticks of 32 bits run out. */
export const MAX_JOIN_TICK = 2 ** 32 - 86_400 * 120;
/** Time, ms, over which the clock prefers the echo with the shortest round trip: a few seconds outlast a burst of jitter. */
export const TIMELINE_WINDOW_MS = 8_000;
/** Parts of that time, each of which keeps its best echo: bounds memory, whatever the rate of echoes. */
export const TIMELINE_BUCKETS = 16;
/** Share of the time by which a corrected clock runs fast or slow at most: 1 % is not visible in motion. */
export const TIMELINE_SLEW = 0.01;
/** Drift of two machines' clocks against each other allowed for when echoes of different age are compared: 200 ppm. */
export const TIMELINE_DRIFT = 0.0002;

// ---- control stream and channels
/** Bytes of one control message: a roster of 1,024 peers fits. */
export const MAX_CONTROL_MESSAGE_BYTES = 32_768;
/** Bytes of the credential in a join message. */
export const MAX_CREDENTIAL_BYTES = 4_096;
/** Bytes of a schema hash: SHA-256. */
export const SCHEMA_HASH_BYTES = 32;
/** Bytes of a resume secret. */
export const RESUME_SECRET_BYTES = 32;
/** UTF-8 bytes of the reason in a refusal or a goodbye: one sentence. */
export const MAX_REASON_BYTES = 200;
/** Largest application close code: what a QUIC varint of four bytes holds. */
export const MAX_CLOSE_CODE = 0x3fff_ffff;
/** Entity ids handed out in one message: 16 KiB of the control message. */
export const MAX_ENTITY_BLOCK = 4_096;
/** Time, ms, a freed peer id rests before it names another peer: longer than any event or record that still names the old one. */
export const PEER_ID_QUARANTINE_MS = 60_000;
/** Bytes of one message on a reliable channel. */
export const MAX_CHANNEL_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Bytes of one piece in which a channel message crosses the engine link. */
export const CHANNEL_PIECE_BYTES = 65_536;
/** Open channels of one peer. */
export const MAX_OPEN_CHANNELS = 64;
/** Messages a second on one channel from one sender. */
export const MAX_CHANNEL_RATE_HZ = 1_000;
/** Bytes of one message on an unreliable channel: whole in a datagram of 1,150 B less its header (42 B), section frame and name. */
export const MAX_UNRELIABLE_MESSAGE_BYTES = 1_000;
/** Bytes of one event's fields. */
export const MAX_EVENT_BYTES = 8_192;
/** Events that wait for their state, per peer. */
export const MAX_WAITING_EVENTS = 256;
/** Ticks from an event's time to the tick whose state it waits for: 2 s and 10 s of waiting on the way at 120 Hz, and a round number above. */
export const MAX_EVENT_STATE_TICKS = 2_047;
/** Missing datagrams of one peer that hold back its events: two seconds of a bad path; older ones count as repaired. */
export const MAX_WATCHED_GAPS = 64;
/** Ticks, beside 1.25 round trips, in which lost state goes again: until the next slot of each end, and one that just went by. */
export const LOSS_REPAIR_TICKS = 3;
/** A path is lossy for so many acknowledged datagrams after a lost one: at 1 % loss nearly always, at 0.05 % a quarter of the time. */
export const LOSSY_DATAGRAMS = 512;
/** Ticks in which datagrams go after an event even without contents, so that its receiver need not wait: all are lost once in 65,000 at 25 %. */
export const EVENT_VOUCH_TICKS = 8;
/** Longest time, in ms, an event may wait for its state. */
export const MAX_EVENT_WAIT_MS = 10_000;
/** Events that a server passes on in one tick; more are dropped and counted: 1,024 peers with 240 events a second each stay below it. */
export const MAX_RELAYS_PER_TICK = 16_384;
/** Connections that have not joined yet, on one server. */
export const MAX_HALF_JOINED = 64;
/** Time, in ms, from connecting to a whole join message, or to a whole proof where one is asked for. */
export const JOIN_TIMEOUT_MS = 5_000;
/** Entities a second that a server begins to show to newcomers, all together: 20 joins a second to 5,000 each. Who joins beyond it waits at the door. */
export const JOIN_ROWS_PER_S = 100_000;
/** Entities by which joins may run ahead of that: four newcomers to 5,000 entities at once, or hundreds to a small world. */
export const JOIN_ROWS_BURST = 20_000;
/** What a join costs beside what it is shown, as so many entities: its handshake, its ids, and the roster of everyone. */
export const JOIN_BASE_ROWS = 20;
/** Time, ms, that a connection which is to prove something keeps its place though others wait: two round trips of a bad path. */
export const JOIN_PROOF_GRACE_MS = 1_500;
/** Places up to which a network that has most of them keeps that grace towards others: two players of one home may join at once. */
export const JOIN_FEW_PLACES = 2;

// ---- identity
/** Bytes of a join message, padding included: a challenge and a whole refusal together are shorter, so an answer never outweighs its question. */
export const JOIN_MESSAGE_BYTES = 256;
/** Bytes of a challenge: fresh and unguessable, a 256-bit random number. */
export const CHALLENGE_BYTES = 32;
/** Bytes of an Ed25519 public key (RFC 8032). */
export const PUBLIC_KEY_BYTES = 32;
/** Bytes of an Ed25519 signature (RFC 8032). */
export const SIGNATURE_BYTES = 64;
/** Bytes of a certificate pin: SHA-256. */
export const PIN_BYTES = 32;
/** Bytes that one connection may send before it has joined: a join, and a proof with the longest token, each in its frame (3 B at most). */
export const MAX_BYTES_BEFORE_JOIN = JOIN_MESSAGE_BYTES + 3 + 1 + 2 + MAX_CREDENTIAL_BYTES +
  SIGNATURE_BYTES + 3;
/** Keys whose tokens a world takes: a login service, its successor's key, and some partners. */
export const MAX_ISSUERS = 8;
/** UTF-8 bytes of the name of a token's holder: an account id or an address. */
export const MAX_SUBJECT_BYTES = 128;
/** Characters of a token's nonce: a UUID or 256 bits as text. */
export const MAX_NONCE_CHARS = 64;
/** How far the clocks of issuer and server may differ, s: machines without time service drift less in a week. */
export const CLOCK_SKEW_S = 60;
/** Longest life of a join token, s: an invitation for a day; used nonces are held as long. */
export const MAX_TOKEN_LIFE_S = 86_400;
/** Bytes by which a used nonce is remembered: half a SHA-256, beyond any search for a second text. */
export const NONCE_HASH_BYTES = 16;
/** Bytes of one used nonce on the engine link: its hash and the second in which it may be forgotten. */
export const NONCE_RECORD_BYTES = NONCE_HASH_BYTES + 4;
/** Used nonces held, by driver and engine: with tokens of five minutes, 45 joins a second. More joins than that wait. */
export const MAX_USED_NONCES = 16_384;
/** Bytes that an engine may be asked to sign: a proof has 144. */
export const MAX_SIGNED_BYTES = 256;
/** Signatures that an engine may have been asked for and not given: one a connection, and a driver has one connection. */
export const MAX_PENDING_SIGNATURES = 2;

// ---- transport
/** Largest application code of a close or reset: fits every backend (QUIC's 62 bits, WebTransport's 32). */
export const MAX_APPLICATION_CODE = 2 ** 30 - 1;
/** UTF-8 bytes of a close reason; a longer one is cut. */
export const MAX_CLOSE_REASON_BYTES = 256;
/** Streams opened by one end of a connection and alive at once: the open channels, the control stream, and those still ending. */
export const MAX_STREAMS_PER_PEER = 128;
/** Streams that the other end may have open beyond the reliable channels of its world: its control stream, and one that is still ending. */
export const SPARE_STREAMS = 2;
/** Bytes that the runtime holds of one stream nobody reads: its window of 1,250,000 B, which cannot be set; 1.36 MB resident were measured. */
export const UNREAD_STREAM_BYTES = 1_400_000;
/** Bytes that the runtime holds of what one connection was sent and has not acknowledged: 10,000,000 B, resident 10.1 MB were measured. */
export const UNACKED_CONNECTION_BYTES = 10_250_000;
/** Peers whose streams the budget of memory counts as full, read and acknowledged by nobody, at once: who keeps them so is let go of, one by one. */
export const MAX_FULL_PEERS = 8;
/** Time, ms, after which a stream that brought nothing while it was read counts as empty: round trips of a bad path. */
export const STREAM_IDLE_MS = 1_000;
/** Time, ms, in which a stream that its peer keeps full must have brought a whole window, or it counts as stuck: 250 kB/s. */
export const STREAM_STUCK_MS = 5_000;
/** Bytes in a stream's writer above which `write` answers false; writing goes on at half of it. */
export const STREAM_HIGH_WATER_BYTES = 262_144;
/** Bytes a stream's sender may be ahead of its receiver where the driver does the flow control itself. */
export const STREAM_WINDOW_BYTES = 262_144;
/** Bytes of one frame inside a stream: one read of the operating system's size. */
export const MAX_STREAM_FRAME_BYTES = 65_536;
/** Handshakes of one listener at once; of more, the oldest of the network that has most is ended: a real one takes a round trip or two. */
export const MAX_HANDSHAKES = 256;
/** Handshakes a second that one listener begins, above `MAX_HANDSHAKES` at once; each takes 0.45 ms of a core. Further connectors may try again. */
export const MAX_HANDSHAKES_PER_S = 512;
/** Time, s, that the runtime holds a handshake which was ended: three times its time-out for a first answer (RFC 9000 section 10.2). */
export const HANDSHAKE_CLOSING_S = 3;
/** Bytes that the runtime holds of one handshake, under way or ended; 46 kB resident were measured. */
export const HANDSHAKE_BYTES = 50_000;
/** Time, ms, that a handshake may take before it counts as slow: just short of the second after which a QUIC server first repeats itself. */
export const HANDSHAKE_PATIENCE_MS = 900;
/** Slow handshakes of one listener at once; of more, the oldest is ended as above, since they may be answers to addresses that never asked. */
export const MAX_SLOW_HANDSHAKES = 8;
/** Connections of one listener at most: all peers, those that have not joined yet, and one for which another of them makes room. */
export const MAX_CONNECTIONS = MAX_PEERS + MAX_HALF_JOINED + 1;
/** Datagrams handed to a backend and not yet taken by it, per connection; more are dropped, as stale state would be. */
export const MAX_UNSENT_DATAGRAMS = 256;
/** Datagrams that wait for a connection's `start`; the oldest is dropped. */
export const MAX_EARLY_DATAGRAMS = 64;
/** Actions one flush of an in-process network runs: two ends that answer each other for ever are a mistake, and this finds it. */
export const MAX_FLUSHED_ACTIONS = 10_000_000;
/** Interval, ms, of QUIC keep-alive packets. */
export const KEEP_ALIVE_MS = 1_000;
/** Silence, ms, after which a connection counts as lost. */
export const IDLE_TIMEOUT_MS = 5_000;
/** Time, ms, that connecting may take. */
export const CONNECT_TIMEOUT_MS = 5_000;

// ---- voice
/** Largest Opus packet, RFC 6716 section 3.2.1: 1,275 B a frame; one frame a packet is what engines send. */
export const MAX_OPUS_PACKET_BYTES = 1_275;
/** Bytes of one voice frame a manifest may allow: whole in a datagram of 1,150 B less its header (42 B), section frame and tag. */
export const MAX_VOICE_FRAME_BYTES = 1_000;
/** Voice frames a second of one entity: Opus frames of 2.5 ms. */
export const MAX_VOICE_RATE_HZ = 400;
/** Bytes that sealing a voice frame end to end may add: key id, counter and tag (RFC 9605). */
export const MAX_SEALED_OVERHEAD_BYTES = 32;
/** Longest audio of one Opus packet, ms (RFC 6716 section 3.2.5). */
export const MAX_OPUS_PACKET_MS = 120;
/** Frames of one voice section: the datagram's size bounds it too. */
export const MAX_VOICE_FRAMES = 64;
/** Oldest sample time of a voice frame, sub-ticks before the datagram's time: two varint bytes, 8.5 s at 30 Hz, 2.1 s at 120 Hz. */
export const MAX_VOICE_AGE_SUBTICKS = 16_383;

// ---- engine link
/** Bytes of one frame on the engine link, the length word not counted: a batch of 50,000 avatars fits. */
export const MAX_ENGINE_FRAME_BYTES = 16 * 1024 * 1024;
/** Nesting of a MessagePack value on the engine link. */
export const MAX_MSGPACK_DEPTH = 8;
/** Elements (all levels) of one MessagePack value: bulk data rides as `bin`, so values stay small. */
export const MAX_MSGPACK_ITEMS = 65_536;
/** Heartbeat interval on the engine link, ms. */
export const ENGINE_HEARTBEAT_MS = 250;
/** Interval of a driver's figures to its engine, ms. */
export const STATS_INTERVAL_MS = 1_000;
/** Silence on the engine link, ms, after which the other end counts as hung. */
export const ENGINE_TIMEOUT_MS = 5_000;
/** Time, ms, from connecting to a whole hello and to a whole welcome, whatever else is said meanwhile: nobody holds the one place by dribbling. */
export const GREETING_TIMEOUT_MS = 5_000;
/** Bytes that may wait in a writer to a slow engine before state is conflated and voice dropped. */
export const ENGINE_BACKLOG_BYTES = 1024 * 1024;
/** Time, ms, that a client's engine waits after joining anew for remote entities of before to be announced again: 150 ticks at 30 Hz. */
export const RESYNC_CONFIRM_MS = 5_000;
/** State hashes that an engine may have asked for and not been given. */
export const MAX_PENDING_HASHES = 16;
/** Rows, in bytes, after which a batch to the driver is closed and another begun: half a frame leaves room for one largest row. */
export const MAX_BATCH_BYTES = 8 * 1024 * 1024;
/** UTF-8 bytes of one text on the engine link: names, addresses and reasons; longer text is data and rides as `bin`. */
export const MAX_ENGINE_TEXT_BYTES = 256;
/** Bytes of the sealed resume ticket that an engine keeps: 1,024 peers of 100 B each, and the seal. */
export const MAX_RESUME_TICKET_BYTES = 131_072;
/** Bytes of an event's row on the engine link: its variable bytes plus 31 fields of at most 16 B or a length word. */
export const MAX_EVENT_ROW_BYTES = MAX_EVENT_BYTES + MAX_FIELDS * 16;
/** Dataflow nodes a driver may announce, and streams of one node: two nodes of three streams are in use. */
export const MAX_DATAFLOW_NODES = 16;
/** Counters and gauges in one stats message. */
export const MAX_STATS = 256;
/** Denial reports to the engine a second; the rest is only counted. */
export const MAX_DENIAL_REPORTS_PER_S = 20;
/**
 * Messages other than state and voice that may wait on the engine link: the SDK refuses more, a driver with more counts its engine as gone. What
 * peers cause of them: of `MAX_PEERS` a leaving each, and joinings up to half of all, when newcomers are refused. Messages of channels are drawn
 * when there is room and wait at their peers, closes and credits are one a channel, events and voice have queues of their own, denials and
 * violations are summed.
 */
export const MAX_ENGINE_MESSAGES = 4_096;
/** Voice frames that may wait for the engine: 2.5 s of one speaker; above it the oldest is dropped and counted. */
export const MAX_ENGINE_VOICE_FRAMES = 128;
/** Bytes of one channel that may be under way on the engine link before the receiver grants more: two pieces and room. */
export const CHANNEL_WINDOW_BYTES = 256 * 1024;
/** Room, bytes, of one peer's unfinished messages in an engine above which only the oldest of them is granted more: the largest message. */
export const MAX_PEER_WAITING_BYTES = MAX_CHANNEL_MESSAGE_BYTES;
/** Room, bytes, of all unfinished messages in an engine above which peers with more than an equal share wait: four of the largest. */
export const MAX_WAITING_BYTES = 4 * MAX_CHANNEL_MESSAGE_BYTES;
/** Room, bytes, of all unfinished messages, windows granted before included, above which the largest is given up: as much again. */
export const MAX_GATHERED_BYTES = 2 * MAX_WAITING_BYTES;
/** Time, ms, in which an unfinished message must use up its window while others wait for its room: 26 kB/s, a tenth of what a home line gives. */
export const CHANNEL_PROGRESS_MS = 10_000;
/** Open channels of one declaration without a namespace, per peer: each end may have opened one at the same moment. */
export const MAX_PLAIN_CHANNELS = 2;
/** Voice frames waiting for one peer's next datagram: 2 s of one speaker or one slot of a crowd; the oldest is dropped. */
export const MAX_QUEUED_VOICE_FRAMES = 128;
/** Unreliable channel messages waiting for one peer's next datagram; further ones are dropped. */
export const MAX_QUEUED_MESSAGES = 256;
/** Longest time, ms, that a voice frame waits for others to share its datagram. */
export const VOICE_SLOT_MS = 4;
/** Faulty datagrams or messages a second that one peer may send before it is dropped: far above what a bad path does. */
export const MAX_FAULTS_PER_S = 50;
/** Denials a second of one peer above which each counts as a fault too: its own driver's gate lets none of them out, but for what was under way. */
export const MAX_PEER_DENIALS_PER_S = 2_000;
/** Transfers of one entity that an engine keeps in mind until its driver has named them; of more the oldest are forgotten. */
export const MAX_PENDING_TRANSFERS = 16;
/** Time, ms, after a change of owner or value in which its former owner's writes may still come in: they are refused, and no offence. */
export const CROSSING_MS = 1_000;
/** Refusals a second of spawns under ids that a peer never had, told to it: an honest one names such an id only when it has just ended. */
export const MAX_STRAY_REFUSALS_PER_S = 50;
/** Time, ms, that a despawn may stay unacknowledged before who was told of it all the while is dropped: its id blocks a slot for everyone. */
export const MAX_ID_REST_MS = 10_000;
/** Most datagrams a second that any peer may send before the rest is dropped: state at 120 Hz, voice and messages, twice over. */
export const MAX_PEER_DATAGRAMS_PER_S = 2_000;
/** Work of looking at one datagram, units of a state entry: header, section frames, acknowledgement. */
export const WORK_DATAGRAM = 4;
/** Work of one header, value or piece of a snapshot: decoded, held, judged, applied; the unit of the others, about a microsecond. */
export const WORK_ENTRY = 1;
/** Work of a vector or rotation that is foretold, beside its entry's: half a microsecond with all that it is foretold from. */
export const WORK_VECTOR = 0.5;
/** Work of one voice frame, in units: judged and copied; who hears it is bounded by its declared rate. */
export const WORK_VOICE_FRAME = 2;
/** Work of one unreliable channel message, in units: judged, encoded, read by the engine. */
export const WORK_MESSAGE = 16;
/** Work of one control message, in units: decoded, judged, queued until its state has come, encoded, read by the engine. */
export const WORK_CONTROL = 24;
/** Work of one stream that a peer opens, in units: taken from the runtime, watched, read, ended, whether it comes to a channel or not. */
export const WORK_STREAM = 50;
/** Work of one chunk of the control stream, in units: read and gathered, however few bytes are in it. */
export const WORK_CHUNK = 20;
/** Work of one refusal, in units: counted, logged, summed into a report. */
export const WORK_DENIAL = 8;
/** How much more work than its declared rates make a peer may cause: repetitions of what got lost, acknowledgements, entities that come and go. */
export const WORK_RESERVE = 2;
/** Work that may come at once, s of the allowance: what a path held up, and bursts of 0.4 s at 1.2 times the rates. */
export const WORK_BURST_S = 1;
/** Least datagrams a second of any peer's allowance: one that only looks on acknowledges in each slot and after every sixteenth datagram. */
export const MIN_PEER_DATAGRAMS_PER_S = 64;
/**
 * Bytes a second of one peer's streams that are taken before they are paused to the next tick: a quarter of what a 1 Gbit/s line brings. What
 * costs more than its bytes counts as more of them; the messages of declared rates come on top.
 */
export const PEER_STREAM_BYTES_PER_S = 32 * 1024 * 1024;
/** What one chunk of a channel's stream costs, bytes of that: read, framed, reported; 20 us at most, so that 8,192 a second pass. */
export const STREAM_CHUNK_COST = 4_096;
/** What one piece of a message costs, bytes of that: its head read, its bytes joined; a third of a microsecond. */
export const STREAM_PIECE_COST = 256;
/** What one message of a reliable channel costs, bytes of that: judged, encoded, read by the engine; 30 us. */
export const STREAM_MESSAGE_COST = 8_192;
/** Chunks in which an honest driver sends one message of a reliable channel at most, beside those of its bytes: its head, and its piece. */
export const STREAM_MESSAGE_CHUNKS = 2;
/** Bytes that may wait in one channel's stream for an engine that is busy before it is paused, one chunk on top: half a window. */
export const MAX_INTAKE_BYTES = 131_072;
/** Chunks that may wait there: each takes more than its bytes. */
export const MAX_INTAKE_CHUNKS = 32;
/** Bytes of a message that has not ended from which they go to the engine: many small pieces make few messages on its link. */
export const CHANNEL_JOIN_BYTES = 16_384;
/** Messages of channels that their peers have just ended which wait for the engine, of all together; further ones are lost with the channel. */
export const MAX_PARTING_MESSAGES = 1_024;
/** Bytes of those: a window of four channels. */
export const MAX_PARTING_BYTES = 1024 * 1024;
/** What looking at those of one peer may cost when it leaves, bytes of its streams' allowance: a hundred messages, or one of a megabyte. */
export const MAX_PARTING_COST = 1024 * 1024;
/** Messages of one unreliable channel that wait for the engine's turn; further ones are dropped. */
export const MAX_LOOSE_MESSAGES = 256;
/** Time, ms, that a peer may be over its allowance of work before it is dropped; four quiet ticks make up for one that is over. */
export const MAX_OVER_BUDGET_MS = 1_000;
/** Bytes that a builder keeps free for the header: 11 with one run acknowledged, never over 42. */
export const DATAGRAM_HEADER_BYTES = 42;
/** Spawns of one peer that wait for their components and are looked at in one tick; as many as it has ids may wait, and take turns. */
export const SPAWN_LOOKS_PER_TICK = 512;
/** Time, ms, after the server overrode an owner's value in which that owner's engine may have written without knowing: it stood still. */
export const OVERRIDE_ECHO_MS = 1_000;
/** How far behind the server's time, ms, a sample time of an owner's write may lie: a bad path's delay; older ones count as this old. */
export const OWNER_TIME_BEHIND_MS = 2_000;
/** How far ahead of the server's time, ms, it may lie: the error of a client's estimate. */
export const OWNER_TIME_AHEAD_MS = 100;
/** Time, ms, that a peer's spawn may wait for its components: 64 KiB at the least rate a host may set take 17 s. */
export const SPAWN_WAIT_MS = 60_000;
/** Time, ms, that a spawn above a peer's count may wait for the despawn before it: several losses in a row on a long path. */
export const SPAWN_COUNT_WAIT_MS = 2_000;
/** How far ahead of the server's time, ms, a peer's datagram may claim to be; further is no clock error, and 32 bits must not run out. */
export const MAX_TIME_AHEAD_MS = 5_000;
/** Bytes that may wait on a peer's control stream before the peer is dropped: a burst of events to a slow reader. */
export const MAX_CONTROL_BACKLOG_BYTES = 1024 * 1024;
/** First pause, ms, before a client connects again; it doubles up to the largest. */
export const RECONNECT_FIRST_MS = 250;
/** Largest pause, ms, before a client connects again. */
export const RECONNECT_MAX_MS = 5_000;
/** Time, ms, that a client keeps its datagrams' arrival away from the server's tick, before and after: timers and paths jitter as much. */
export const SEND_GUARD_MS = 3;
/**
 * Channels a second that one peer may open beyond the first `MAX_OPEN_CHANNELS` at once; further ones wait. Scripts open a handful when they
 * start; each is two messages to the engine.
 */
export const MAX_CHANNEL_OPENS_PER_S = 10;
