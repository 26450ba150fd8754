/** The app of the drain tests: answers that take their time, and each says its version. */

/** What the pieces of an upload, or of a streamed answer, add up to. */
export const PIECES = Array.from({ length: 20 }, (_, index) => `piece ${index} `.repeat(100));
export const WHOLE = PIECES.join("");

/** `/slow?NAME` and the second half of `/stream?NAME` wait for the file `gates/NAME`. */
export const APP = `
const VERSION = "one";
const PIECES = Array.from({ length: 20 }, (_, index) => ("piece " + index + " ").repeat(100));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function stream(pieces, type = "text/plain") {
  return new Response(ReadableStream.from(pieces).pipeThrough(new TextEncoderStream()), {
    headers: { "content-type": type, "x-version": VERSION },
  });
}

async function gate(name) {
  while (!await Deno.stat("./gates/" + name).then(() => true, () => false)) await sleep(20);
}

async function* halves(name) {
  yield* PIECES.slice(0, PIECES.length / 2);
  await gate(name);
  yield* PIECES.slice(PIECES.length / 2);
}

async function* forever() {
  for (let index = 0;; index++) {
    yield "id: " + index + "\\ndata: " + VERSION + "\\n\\n";
    await sleep(50);
  }
}

export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    switch (pathname) {
      case "/upload":
        return new Response(VERSION + " " + await request.text());
      case "/slow":
        await gate(search.slice(1));
        return new Response(VERSION);
      case "/stream":
        return stream(halves(search.slice(1)));
      case "/events":
        return stream(forever(), "text/event-stream");
      case "/endless":
        return stream(forever());
      case "/large":
        return new Response(new Uint8Array(20_000_000).fill(7));
      default:
        return new Response(VERSION);
    }
  },
};
`;
