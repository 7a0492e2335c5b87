// "Did you mean": the nearest of a few known names. It knows nothing of manifests.

/** Edit distance in which a swap of neighbours counts once (optimal string alignment); names are short, so the plain table does. */
export function editDistance(a: string, b: string): number {
  let beforeLast = new Array<number>(b.length + 1).fill(0);
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, beforeLast[j - 2]! + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/** The known name nearest to `given`, if one is near enough to be what was meant. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  // Longer texts than any declared name cost time and are no misspelling.
  if (given.length > 128) return undefined;
  const wanted = given.toLowerCase();
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const name of known) {
    const candidate = name.toLowerCase();
    const begins = wanted.length >= 3 &&
      (candidate.startsWith(wanted) || wanted.startsWith(candidate));
    const distance = begins ? 1 : editDistance(wanted, candidate);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  // Any name is near to a name of one or two letters.
  const near = given.length < 3 ? 0 : Math.max(1, Math.floor(given.length / 3));
  return bestDistance <= near ? best : undefined;
}

/** `; did you mean "x"?`, or the known names where none is near, or that there is none. */
export function suggest(given: string, known: readonly string[]): string {
  const name = nearest(given, known);
  if (name !== undefined) return `; did you mean "${name}"?`;
  if (known.length === 0) return "; none is declared";
  return `; known are ${known.slice(0, 24).map((one) => `"${one}"`).join(", ")}`;
}
