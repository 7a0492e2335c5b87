import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { MAX_EVENT_WAIT_MS, MAX_WAITING_EVENTS } from "../../protocol/limits.ts";
import { EventQueue, type WaitingEvent } from "../../session/event_queue.ts";

interface Numbered extends WaitingEvent {
  readonly number: number;
}

function event(number: number, changes: Partial<WaitingEvent> = {}): Numbered {
  return {
    number,
    eventId: 1,
    from: 2,
    tick: 0,
    entities: [],
    waitMs: 500,
    late: "deliver",
    ...changes,
  };
}

const all = () => true;
const none = () => false;

function drain(
  queue: EventQueue<Numbered>,
  nowMs: number,
  isKnown: (id: number) => boolean,
  tick: number,
): string[] {
  const list: string[] = [];
  for (;;) {
    const due = queue.poll(nowMs, isKnown, tick);
    if (due === undefined) return list;
    list.push(`${due.event.number}${due.late ? " late" : ""}`);
  }
}

Deno.test("`poll()` delivers in order, when everything has arrived", () => {
  const queue = new EventQueue<Numbered>();
  for (let i = 0; i < 4; i++) queue.push(event(i), 0);
  assertEquals([drain(queue, 0, none, 0), queue.size], [["0", "1", "2", "3"], 0]);
});

Deno.test("`poll()` waits for the tick and for each entity, when one is missing", () => {
  const queue = new EventQueue<Numbered>();
  queue.push(event(1, { tick: 10, entities: [5, 6] }), 0);
  assertEquals(drain(queue, 1, all, 9), []);
  assertEquals(drain(queue, 1, (id) => id === 5, 10), []);
  assertEquals(drain(queue, 499, (id) => id === 5 || id === 6, 10), ["1"]);
});

Deno.test("`poll()` lets others pass but keeps the order of one kind, when an event waits", () => {
  const queue = new EventQueue<Numbered>();
  queue.push(event(1, { tick: 10 }), 0);
  queue.push(event(2), 0);
  queue.push(event(3, { eventId: 9 }), 0);
  queue.push(event(4, { from: 7 }), 0);
  assertEquals(drain(queue, 1, all, 0), ["3", "4"]);
  assertEquals(drain(queue, 1, all, 10), ["1", "2"]);
});

Deno.test("`poll()` marks an event late or drops it, when its time is over, as the manifest says", () => {
  const queue = new EventQueue<Numbered>();
  queue.push(event(1, { tick: 10, late: "drop" }), 0);
  queue.push(event(2, { tick: 10, eventId: 2 }), 0);
  queue.push(event(3, { tick: 10, late: "drop" }), 100);
  assertEquals(drain(queue, 499, all, 0), []);
  assertEquals([drain(queue, 500, all, 0), queue.droppedLate], [["2 late"], 1]);
  assertEquals([drain(queue, 700, all, 0), queue.droppedLate, queue.size], [[], 2, 0]);
});

Deno.test("`poll()` delivers in time, when state and deadline come together", () => {
  const queue = new EventQueue<Numbered>();
  queue.push(event(1, { tick: 10, late: "drop" }), 0);
  assertEquals([drain(queue, 5_000, all, 10), queue.droppedLate], [["1"], 0]);
});

Deno.test("`push()` bounds the time, when an event asks for more than allowed", () => {
  const queue = new EventQueue<Numbered>();
  queue.push(event(1, { tick: 10, waitMs: 1e9 }), 0);
  assertEquals(drain(queue, MAX_EVENT_WAIT_MS - 1, all, 0), []);
  assertEquals(drain(queue, MAX_EVENT_WAIT_MS, all, 0), ["1 late"]);
});

Deno.test("`push()` drops and counts, when too many wait", () => {
  const queue = new EventQueue<Numbered>();
  for (let i = 0; i < MAX_WAITING_EVENTS; i++) assert(queue.push(event(i, { tick: 1 }), 0));
  assertEquals([queue.push(event(999), 0), queue.droppedFull], [false, 1]);
  assertEquals(drain(queue, 0, all, 1).length, MAX_WAITING_EVENTS);
  assert(queue.push(event(1_000), 0));
});

Deno.test("`EventQueue` accounts for every event and keeps each kind's order, when all is random", () => {
  const pushed = fc.record({
    kind: fc.nat(2),
    from: fc.nat(2),
    tick: fc.nat(60),
    entity: fc.nat(5),
    drop: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(pushed, { maxLength: 120 }), (list) => {
    const queue = new EventQueue<Numbered>();
    const delivered: { event: Numbered; late: boolean }[] = [];
    let accepted = 0;
    for (let now = 0; now <= 3_000; now += 10) {
      const next = list[now / 10];
      if (next !== undefined) {
        const e = event(now, {
          eventId: next.kind,
          from: next.from,
          tick: next.tick,
          entities: [next.entity],
          late: next.drop ? "drop" : "deliver",
          waitMs: 300,
        });
        if (queue.push(e, now)) accepted += 1;
      }
      const tick = now / 25;
      const isKnown = (id: number) => now > id * 150;
      for (let due; (due = queue.poll(now, isKnown, tick)) !== undefined;) {
        const { event: e, late } = due;
        assertEquals(late, !(e.tick <= tick && e.entities.every(isKnown)));
        assert(!late || e.late === "deliver");
        assert(now - e.number <= 310, "it waited too long");
        delivered.push(due);
      }
    }
    assertEquals(queue.size, 0);
    assertEquals(delivered.length + queue.droppedLate + queue.droppedFull, list.length);
    assertEquals(accepted, list.length - queue.droppedFull);
    const newest = new Map<string, number>();
    for (const { event: e } of delivered) {
      const key = `${e.eventId} ${e.from}`;
      assert(e.number > (newest.get(key) ?? -1), "an event overtook one of its kind");
      newest.set(key, e.number);
    }
  }));
});

Deno.test("`discard()` drops what is not wanted any more and keeps the order of the rest", () => {
  const queue = new EventQueue<Numbered>();
  for (let i = 0; i < 6; i++) queue.push(event(i, { eventId: i % 2, tick: 9 }), 0);
  assertEquals(queue.discard(({ eventId }) => eventId === 1), 3);
  assertEquals(queue.discard(({ eventId }) => eventId === 1), 0);
  assertEquals(queue.size, 3);
  assertEquals(queue.droppedLate, 0);
  const numbers: number[] = [];
  for (let due = queue.poll(1, all, 9); due !== undefined; due = queue.poll(1, all, 9)) {
    numbers.push(due.event.number);
  }
  assertEquals(numbers, [0, 2, 4]);
});
