// What a driver says about its own mistake, when one ends it: the class of the error and the places in our own files that it came through.
// Never its message: that may quote a value, and values come from peers. It prints nothing itself.

/** Places named in a report, the innermost first: enough to find the mistake, and one line of a terminal. */
const MAX_PLACES = 4;

/** A class name as our language has it; anything else was made up. */
const CLASS_NAME = /^[A-Z][A-Za-z]{0,39}$/;

/** A place in a file of the driver, by its path inside the project. */
const PLACE =
  /\b((?:protocol|permissions|replication|voice|session|engine|transport|driver)\/[a-z0-9_]{1,60}\.ts:\d{1,6}:\d{1,6})/;

/** One sentence about an uncaught error, free of contents. */
export function crashReport(error: unknown): string {
  const places = placesOf(error).slice(0, MAX_PLACES);
  const where = places.length === 0 ? "" : ` at ${places.join(" < ")}`;
  return `A mistake of this program ended it: ${classOf(error)}${where}. Please report this line.`;
}

function classOf(error: unknown): string {
  if (!(error instanceof Error)) return "a thrown value";
  const { name } = error.constructor;
  return CLASS_NAME.test(name) ? name : "Error";
}

function placesOf(error: unknown): string[] {
  if (!(error instanceof Error) || typeof error.stack !== "string") return [];
  // The stack begins with the message, whose lines may look like places.
  const head = String(error);
  if (!error.stack.startsWith(head)) return [];
  return error.stack.slice(head.length).split("\n")
    .flatMap((line) => PLACE.exec(line)?.[1] ?? []);
}
