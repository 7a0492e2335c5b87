// What Linux says of a process in /proc: processor time of all its threads, and resident memory. It reads nothing else and knows no
// other system.

/** Units of processor time a second in /proc (USER_HZ): 100 on every Linux that Deno runs on. */
const TICKS_PER_S = 100;

/** Processor time of a process so far, user and system, all threads, from the text of `/proc/<pid>/stat`; seconds. See proc(5). */
export function parseCpuSeconds(stat: string): number {
  // The second field is the program's name in brackets and may itself hold brackets and blanks: fields are counted behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [Number(fields[11]), Number(fields[12])];
  if (!Number.isFinite(user) || !Number.isFinite(system)) {
    throw new Error(`this is no line of /proc/<pid>/stat: "${stat.slice(0, 80)}"`);
  }
  return (user + system) / TICKS_PER_S;
}

/** Resident memory from the text of `/proc/<pid>/status`, MB of 2^20 bytes. */
export function parseResidentMb(status: string): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(status);
  if (match === null) throw new Error("this is no text of /proc/<pid>/status with a VmRSS line");
  return Number(match[1]) / 1024;
}

/** Processor time of a living process so far, seconds. */
export function readCpuSeconds(pid: number): number {
  return parseCpuSeconds(Deno.readTextFileSync(`/proc/${pid}/stat`));
}

/** Resident memory of a living process, MB of 2^20 bytes. */
export function readResidentMb(pid: number): number {
  return parseResidentMb(Deno.readTextFileSync(`/proc/${pid}/status`));
}
