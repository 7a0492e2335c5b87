// Reading /proc: names that mislead a parser, and this very process.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  parseCpuSeconds,
  parseResidentMb,
  readCpuSeconds,
  readResidentMb,
} from "../../bench/proc_stat.ts";

Deno.test("`parseCpuSeconds()` adds user and system time, when the name holds brackets and blanks", () => {
  const rest = "S 1 7 7 0 -1 4194560 900 0 3 0 1234 567 0 0 20 0 11 0 99 1000 200";
  for (const name of ["deno", "a b", "x) S 1 (y", ")"]) {
    assertEquals(parseCpuSeconds(`4321 (${name}) ${rest}`), 18.01);
  }
  assertThrows(() => parseCpuSeconds("no such line"), Error, "no line of /proc");
});

Deno.test("`parseResidentMb()` finds the line among others, when it is there", () => {
  assertEquals(parseResidentMb("Name:\tdeno\nVmHWM:\t  9999 kB\nVmRSS:\t  2048 kB\n"), 2);
  assertThrows(() => parseResidentMb("Name:\tdeno\n"), Error, "VmRSS");
});

Deno.test({
  name: "`readCpuSeconds()` and `readResidentMb()` grow with work, when a process reads itself",
  ignore: Deno.build.os !== "linux",
  fn: () => {
    const [cpu, mb] = [readCpuSeconds(Deno.pid), readResidentMb(Deno.pid)];
    const block = new Uint8Array(64 * 1024 * 1024).fill(1);
    let sum = 0;
    while (readCpuSeconds(Deno.pid) < cpu + 0.05) sum += block[sum % block.length]!;
    assert(readResidentMb(Deno.pid) > mb + 32, `${sum}`);
  },
});
