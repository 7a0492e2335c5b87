// Every bound of the driver in one table: number, unit, reason. A loop, queue, map or string without a row here is a mistake.

/** Version of the network protocol; peers of another version are refused. */
export const PROTOCOL_VERSION = 1;
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

// ---- datagrams
/** Payload assumed to pass everywhere before path discovery: QUIC's 1,200 B initial packet less its headers. */
export const MIN_DATAGRAM_BYTES = 1_150;
/** Largest datagram taken from a peer: what path discovery reaches on an Ethernet link, with room. */
export const MAX_DATAGRAM_BYTES = 1_500;
/** Datagrams that acknowledgements look back over. */
export const ACK_WINDOW = 512;
/** Ranges in one acknowledgement: alternate loss over 256 datagrams. */
export const MAX_ACK_RANGES = 128;
/** An acknowledgement goes out at the latest after this many datagrams. */
export const MAX_UNACKED_RECEIVED = 16;
/** Datagrams sent to one peer in one tick: bounds what a joining peer can cost the others. */
export const MAX_DATAGRAMS_PER_TICK = 16;
/** Entries of one snapshot section; the datagram's size bounds it too. */
export const MAX_SNAPSHOT_ENTRIES = 1_024;

// ---- control stream and channels
/** Bytes of one control message: a roster of 1,024 peers fits. */
export const MAX_CONTROL_MESSAGE_BYTES = 32_768;
/** Bytes of the credential in a join message. */
export const MAX_CREDENTIAL_BYTES = 4_096;
/** Bytes of a resume secret. */
export const RESUME_SECRET_BYTES = 32;
/** Bytes of one message on a reliable channel. */
export const MAX_CHANNEL_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Bytes of one piece in which a channel message crosses the engine link. */
export const CHANNEL_PIECE_BYTES = 65_536;
/** Open channels of one peer. */
export const MAX_OPEN_CHANNELS = 64;
/** Bytes of one event's fields. */
export const MAX_EVENT_BYTES = 8_192;
/** Events that wait for their state, per peer. */
export const MAX_WAITING_EVENTS = 256;
/** Longest time, in ms, an event may wait for its state. */
export const MAX_EVENT_WAIT_MS = 10_000;
/** Connections that have not joined yet, on one server. */
export const MAX_HALF_JOINED = 64;
/** Time, in ms, from connecting to a whole join message. */
export const JOIN_TIMEOUT_MS = 5_000;

// ---- voice
/** Largest Opus packet, RFC 6716 section 3.2.1: 1,275 B a frame; one frame a packet is what engines send. */
export const MAX_OPUS_PACKET_BYTES = 1_275;

// ---- engine link
/** Bytes of one frame on the engine link, the length word not counted: a batch of 50,000 avatars fits. */
export const MAX_ENGINE_FRAME_BYTES = 16 * 1024 * 1024;
/** Nesting of a MessagePack value on the engine link. */
export const MAX_MSGPACK_DEPTH = 8;
/** Elements (all levels) of one MessagePack value: bulk data rides as `bin`, so values stay small. */
export const MAX_MSGPACK_ITEMS = 65_536;
/** Heartbeat interval on the engine link, ms. */
export const ENGINE_HEARTBEAT_MS = 250;
/** Silence on the engine link, ms, after which the other end counts as hung. */
export const ENGINE_TIMEOUT_MS = 5_000;
/** Bytes that may wait in a writer to a slow engine before state is conflated and voice dropped. */
export const ENGINE_BACKLOG_BYTES = 1024 * 1024;
/** Denial reports to the engine a second; the rest is only counted. */
export const MAX_DENIAL_REPORTS_PER_S = 20;
