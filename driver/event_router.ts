// Events between engines: from an engine's row to bytes on the control stream, and back once the state they speak of has arrived. Every
// event is judged by the gate on its way out and on its way in. It keeps no peers; the cores say who receives.

import type { Handle, ToDriver, ToEngine } from "../protocol/engine_messages.ts";
import { type EntityId, NO_ENTITY } from "../protocol/entity_id.ts";
import { Fault } from "../protocol/faults.ts";
import { MAX_EVENT_BYTES } from "../protocol/limits.ts";
import { Reader } from "../protocol/reader.ts";
import type { TimelineTime } from "../protocol/timeline_units.ts";
import { Writer } from "../protocol/writer.ts";
import { Rule } from "../permissions/rule.ts";
import type { EventGrant, Grants } from "../permissions/grants.ts";
import { FieldCodec } from "../replication/field_codec.ts";
import { RowReader, RowWriter } from "../replication/row_codec.ts";
import { type ComponentValue, createValue } from "../replication/value.ts";
import type { WaitingEvent } from "../session/event_queue.ts";
import type { HandleTable } from "./handle_table.ts";

/** An event out of an engine's row: its value, quantised, references as network ids. */
export interface OutgoingEvent {
  readonly grant: EventGrant;
  readonly value: ComponentValue;
  /** What it names that is not known, or not any more. */
  readonly unknown: readonly Handle[];
}

/** An event that waits for its state. */
export interface PendingEvent extends WaitingEvent {
  readonly event: IncomingEvent;
  readonly time: TimelineTime;
}

/** An event out of a peer's bytes. */
export interface IncomingEvent {
  readonly grant: EventGrant;
  readonly value: ComponentValue;
  /** Entities it names, without nulls. */
  readonly entities: readonly EntityId[];
}

/** Codec of all declared events. */
export class EventCodec {
  readonly #byId: ReadonlyMap<number, EventGrant>;
  readonly #codecs: readonly FieldCodec[];
  readonly #handles: HandleTable;
  readonly #writer = new Writer(256);

  constructor(grants: Grants, handles: HandleTable) {
    this.#byId = new Map(grants.events.map((event) => [event.id, event]));
    this.#codecs = grants.events.map((event) =>
      new FieldCodec({ ...event, allFields: allFields(event) })
    );
    this.#handles = handles;
  }

  /** Reads an engine's row. A string of `Rule` says why it is refused. */
  fromEngine(message: Extract<ToDriver, { kind: "event" }>): OutgoingEvent | Rule {
    const grant = this.#byId.get(message.eventId);
    if (grant === undefined) return Rule.Undeclared;
    const value = createValue(grant);
    const reader = new RowReader(grant, message.row, 1);
    // An entity that has just gone is named as none, as in state.
    const unknown: Handle[] = [];
    const result = reader.next(allFields(grant), value, (handle) => {
      const id = this.#handles.idOf(handle);
      if (id === NO_ENTITY && handle !== 0) unknown.push(handle);
      return id;
    });
    if (result.status !== "row") return Rule.Format;
    return result.badFields === 0 ? { grant, value, unknown } : Rule.Range;
  }

  /** Bytes of a value for one receiver; references to entities that `isVisible` denies are sent as null. */
  encode(
    grant: EventGrant,
    value: ComponentValue,
    isVisible: (id: EntityId) => boolean,
  ): Uint8Array | undefined {
    const hidden: [number, number][] = [];
    for (const field of grant.fields) {
      if (field.kind !== "entity") continue;
      const id = value.lanes[field.laneOffset]! >>> 0;
      if (id !== 0 && !isVisible(id)) {
        hidden.push([field.laneOffset, value.lanes[field.laneOffset]!]);
        value.lanes[field.laneOffset] = 0;
      }
    }
    this.#writer.clear();
    if (grant.fields.length > 0) {
      this.#codecs[grant.index]!.encodeAbsolute(this.#writer, value, allFields(grant));
    }
    for (const [lane, id] of hidden) value.lanes[lane] = id;
    const bytes = this.#writer.finish();
    return bytes.length <= MAX_EVENT_BYTES ? bytes : undefined;
  }

  /** The declaration with this id. */
  grantOf(eventId: number): EventGrant | undefined {
    return this.#byId.get(eventId);
  }

  /** Reads a peer's bytes. */
  decode(grant: EventGrant, payload: Uint8Array): IncomingEvent | Fault {
    const reader = new Reader(payload);
    const value = createValue(grant);
    const mask = grant.fields.length > 0
      ? this.#codecs[grant.index]!.decodeAbsolute(reader, value)
      : 0;
    const fault = reader.finish();
    if (fault !== undefined) return fault;
    if (mask !== allFields(grant)) return Fault.NonCanonical;
    const entities: EntityId[] = [];
    for (const field of grant.fields) {
      if (field.kind !== "entity") continue;
      const id = value.lanes[field.laneOffset]! >>> 0;
      if (id !== 0) entities.push(id);
    }
    return { grant, value, entities };
  }

  /** What a queue needs to hold the event until its state, of `tick`, has come. */
  pending(event: IncomingEvent, from: number, time: TimelineTime, tick: number): PendingEvent {
    const { id, waitMs, late } = event.grant;
    return {
      event,
      time,
      eventId: id,
      from,
      tick,
      entities: event.entities,
      waitMs,
      late,
    };
  }

  /** The message for an engine. References to entities it does not know are null. */
  toEngine(event: IncomingEvent, from: number, time: TimelineTime, late: boolean): ToEngine {
    const writer = new RowWriter(event.grant);
    writer.push(allFields(event.grant), event.value, this.#handles.handleOf);
    return {
      kind: "event",
      eventId: event.grant.id,
      from,
      time,
      late,
      row: writer.finish(),
    };
  }
}

function allFields(grant: EventGrant): number {
  return (1 << grant.fields.length) - 1;
}
