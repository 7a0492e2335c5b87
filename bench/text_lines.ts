// Lines of text out of a stream of bytes: how the processes of a benchmark talk to each other. What a line means is theirs.

/** The lines of a stream, without their ends; the last one may lack its end. */
export async function* textLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  if (rest !== "") yield rest;
}
