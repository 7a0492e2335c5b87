// Whether what a driver may hold at worst fits into what its manifest allows it. A manifest that allows less is refused before anything is
// opened, with the largest parts and the keys that make them smaller. It measures nothing.

import { DEFAULT_MEMORY_MB } from "../protocol/limits.ts";
import type { Grants } from "../permissions/grants.ts";
import { CommandError, ExitCode } from "./exit_codes.ts";
import { type MemoryPart, memoryParts } from "./memory_parts.ts";

/** Resident size, MB, of the runtime with the driver's code and an idle engine link; measured, rounded up. */
export const BASE_RESIDENT_MB = 128;
/** Script heap, MB, of the driver's code, its tables and the garbage of a second, on top of what it holds. */
export const BASE_HEAP_MB = 48;
/** Parts that a refusal names. */
const NAMED_PARTS = 4;

const MB = 1024 * 1024;

/** What a driver may need, and what it may have. */
export interface MemoryBudget {
  /** Every part, the largest first. */
  readonly parts: readonly MemoryPart[];
  /** Script heap at worst, MB. */
  readonly heapMb: number;
  /** Array buffers and the runtime's own at worst, MB. */
  readonly bufferMb: number;
  /** All of it, with the runtime and its code, MB. */
  readonly neededMb: number;
  /** Resident size that the driver may have, MB. */
  readonly limitMb: number;
  /** Whether the manifest itself names that size. */
  readonly isNamed: boolean;
  /** Script heap that the manifest allows, MB; `undefined`: what is needed. */
  readonly heapLimitMb: number | undefined;
}

/** What a manifest's `host.limits` says of memory, with the host's role. */
export interface MemoryLimits {
  readonly role: "server" | "client" | "loopback";
  readonly limits: {
    readonly memoryMb?: number | undefined;
    readonly heapMb?: number | undefined;
  };
}

/** Sums up what a driver may hold. A heap that the manifest names counts as a whole, since V8 fills it before it cleans up. */
export function memoryBudget(grants: Grants, { role, limits }: MemoryLimits): MemoryBudget {
  const parts = memoryParts(grants, role)
    .sort((a, b) => b.heapBytes + b.bufferBytes - a.heapBytes - a.bufferBytes);
  const sum = (key: "heapBytes" | "bufferBytes") =>
    Math.ceil(parts.reduce((total, part) => total + part[key], 0) / MB);
  const heapMb = BASE_HEAP_MB + sum("heapBytes");
  const bufferMb = sum("bufferBytes");
  const neededMb = BASE_RESIDENT_MB + Math.max(heapMb, limits.heapMb ?? 0) + bufferMb;
  return {
    parts,
    heapMb,
    bufferMb,
    neededMb,
    limitMb: limits.memoryMb ?? Math.min(neededMb, DEFAULT_MEMORY_MB),
    isNamed: limits.memoryMb !== undefined,
    heapLimitMb: limits.heapMb,
  };
}

/** Why this driver must not start; `undefined` when its memory suffices. */
export function memoryRefusal(budget: MemoryBudget): string | undefined {
  const { neededMb, limitMb, heapMb, heapLimitMb, isNamed } = budget;
  if (heapLimitMb !== undefined && heapMb > heapLimitMb) {
    return [
      `This world may need a script heap of ${heapMb} MB, but host.limits.heapMb allows ${heapLimitMb}.`,
      `Allow ${heapMb}, or make it need less. Most of the heap is for:`,
      ...named(budget, ({ heapBytes }) => heapBytes),
    ].join("\n");
  }
  if (neededMb <= limitMb) return undefined;
  const allowed = isNamed
    ? `but host.limits.memoryMb allows ${limitMb}.`
    : `and host.limits.memoryMb, which is not set, stands for at most ${limitMb}.`;
  return [
    `This world may need ${neededMb} MB of memory, ${allowed}`,
    `Set host.limits.memoryMb to ${neededMb} or more if the machine has it, or make it need less. Most of it is for:`,
    ...named(budget, ({ heapBytes, bufferBytes }) => heapBytes + bufferBytes),
  ].join("\n");
}

/** @throws {CommandError} when the driver's worst case is above what its manifest allows. */
export function assertMemory(budget: MemoryBudget): void {
  const refusal = memoryRefusal(budget);
  if (refusal !== undefined) throw new CommandError(ExitCode.Manifest, refusal);
}

/** The whole sum as lines of a table. */
export function memoryTable(budget: MemoryBudget): string[] {
  const { parts, neededMb, limitMb, heapMb, bufferMb } = budget;
  const row = (mb: number, text: string) => `  ${mb.toFixed(1).padStart(9)} MB  ${text}`;
  return [
    `memory: at worst ${neededMb} MB of ${limitMb} allowed (heap ${heapMb}, buffers ${bufferMb}, runtime ${BASE_RESIDENT_MB})`,
    ...parts.map(({ name, heapBytes, bufferBytes, keys }) =>
      row((heapBytes + bufferBytes) / MB, keys.length === 0 ? name : `${name} (${keys.join(", ")})`)
    ),
    row(BASE_HEAP_MB + BASE_RESIDENT_MB, "runtime, code and garbage"),
  ];
}

function named({ parts }: MemoryBudget, bytesOf: (part: MemoryPart) => number): string[] {
  return [...parts].sort((a, b) => bytesOf(b) - bytesOf(a)).slice(0, NAMED_PARTS).map((part) => {
    const smaller = part.keys.length === 0 ? "" : `; smaller with less ${part.keys.join(", ")}`;
    return `  - ${part.name}: ${Math.ceil(bytesOf(part) / MB)} MB${smaller}`;
  });
}
