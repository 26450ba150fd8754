/** Requests that are in flight for as long as a test wants. */
import { Wire } from "./http.ts";
import { Project } from "./project.ts";

/**
 * An app that answers `/hold` when it has all of the request's body, begins to at once, and ends by
 * `/die`. Everything else it answers with its version.
 */
export const HOLDING_APP = `
const VERSION = "one";
const encoder = new TextEncoder();
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/die") Deno.exit(9);
    if (pathname !== "/hold") return new Response(VERSION + " " + pathname);
    return new Response(new ReadableStream({
      async start(controller) {
        controller.enqueue(encoder.encode(VERSION + " "));
        controller.enqueue(encoder.encode(await request.text()));
        controller.close();
      },
    }));
  },
};
`;

/** The same, which never leaves by itself: a drain waits for it to its deadline. */
export const STAYING_APP =
  `${HOLDING_APP}\nexport const close = () => new Promise(() => {});\nsetInterval(() => {}, 1000);`;

/** A request to {@link HOLDING_APP} that its worker has begun to answer. */
export class Held implements Disposable {
  readonly #wire: Wire;
  readonly #body: AsyncGenerator<Uint8Array, void>;
  #text: string;

  private constructor(wire: Wire, body: AsyncGenerator<Uint8Array, void>, text: string) {
    this.#wire = wire;
    this.#body = body;
    this.#text = text;
  }

  /** Sends the request, and waits until it is in flight. */
  static async begin({ port }: Project): Promise<Held> {
    const wire = await Wire.open(port);
    await wire.write("POST /hold HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n");
    const body = wire.body(await wire.head());
    const { value } = await body.next();
    return new Held(wire, body, new TextDecoder().decode(value!));
  }

  /** Sends the rest, and gives the text of the whole answer. */
  async release(): Promise<string> {
    await this.#wire.write("whole");
    return await this.rest();
  }

  /** The text of the whole answer. */
  async rest(): Promise<string> {
    for await (const piece of this.#body) this.#text += new TextDecoder().decode(piece);
    return this.#text;
  }

  [Symbol.dispose](): void {
    this.#wire[Symbol.dispose]();
  }
}
