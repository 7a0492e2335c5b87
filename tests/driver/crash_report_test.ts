import { assertEquals, assertMatch } from "@std/assert";
import { crashReport } from "../../driver/crash_report.ts";
import { assert as driverAssert } from "../../protocol/assert.ts";
import { Reader } from "../../protocol/reader.ts";

const CANARY = "canary-4711";

Deno.test("`crashReport()` names class and places, when an assertion of the driver fails", () => {
  let caught: unknown;
  try {
    driverAssert(false, `a rule about ${CANARY}`);
  } catch (error) {
    caught = error;
  }
  assertMatch(
    crashReport(caught),
    /^A mistake of this program ended it: Error at protocol\/assert\.ts:\d+:\d+ < /,
  );
  assertEquals(crashReport(caught).includes(CANARY), false);
});

Deno.test("`crashReport()` names the class of the runtime's errors, when a value was not what it seemed", () => {
  let caught: unknown;
  try {
    new Reader(undefined as never).u8();
  } catch (error) {
    caught = error;
  }
  assertMatch(crashReport(caught), /ended it: TypeError at protocol\/reader\.ts:\d+:\d+/);
});

Deno.test("`crashReport()` repeats nothing of a message, a name, a cause or a thrown value", () => {
  class Named extends Error {
    override name = CANARY;
  }
  const forged = new Error(`x\n    at f (driver/${CANARY.replaceAll("-", "_")}.ts:1:1)`);
  const stackless = new Error(CANARY);
  stackless.stack = `${CANARY}\n    at f (driver/${CANARY.replaceAll("-", "_")}.ts:1:1)`;
  const odd = Object.create(Error.prototype) as Error;
  Object.defineProperty(odd, "constructor", { value: { name: `Canary4711 ${CANARY}` } });
  const all = [
    new Named(CANARY),
    new Error("x", { cause: new Error(CANARY) }),
    new AggregateError([new Error(CANARY)], CANARY),
    forged,
    stackless,
    odd,
    CANARY,
    { message: CANARY },
    undefined,
  ];
  for (const error of all) {
    const line = crashReport(error);
    assertEquals(/canary/i.test(line), false, line);
    assertEquals(line.split("\n").length, 1);
  }
});
