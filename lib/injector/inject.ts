/** Adds the script that hears of reloads to the pages of an app, whichever way the app answers. */
import type { DevelopmentPage } from "../protocol/development.ts";
import type { Fetcher, Handler } from "../worker/app.ts";
import { describeError } from "../child/report.ts";
import { answerForError, requireResponse } from "../worker/answer.ts";
import { headersOf } from "../worker/response_body.ts";
import { decode, decoderOf } from "./decode.ts";
import { injectIntoServer } from "./node_pages.ts";
import { addTo, codingsOf, isPage, wantsPage } from "./page.ts";

/** The realm's own: an app may put another class in its place. */
const { Headers, Response } = globalThis;

/** The same handler, whose pages have the script. */
export function injectInto(handler: Handler, page: DevelopmentPage): Handler {
  if (handler.kind === "node") {
    injectIntoServer(handler.server, page);
    return handler;
  }
  const { fetcher } = handler;
  return { kind: "fetch", fetcher: pagesOf(fetcher, page) };
}

function pagesOf(fetcher: Fetcher, page: DevelopmentPage): Fetcher {
  return {
    fetch: async (request, info) => {
      const { method } = request;
      const wanted = wantsPage(method, request.headers.get("sec-fetch-dest"));
      if (!wanted) return fetcher.fetch(request, info);
      let thrown: unknown;
      const answer: unknown = await ask(fetcher, request, info).catch((error: unknown) => {
        thrown = error;
        return answerForError(error, request);
      });
      const response = await readable(requireResponse(answer), request, thrown);
      return withScript(response, method, page);
    },
  };
}

/** The app's answer; what it throws at once, too, is a promise's. */
async function ask(...[fetcher, request, info]: [Fetcher, ...Parameters<Fetcher["fetch"]>]) {
  return await fetcher.fetch(request, info);
}

/** How much is shown of what failed. */
const MAX_CHARS = 20_000;

/** A failure that a person is to look at becomes a page, so that it goes away when it is mended. */
async function readable(response: Response, request: Request, thrown: unknown): Promise<Response> {
  const { status, headers } = response;
  const isText = /^(text\/plain\b|$)/.test(headers.get("content-type") ?? "");
  const isSeen = request.headers.get("sec-fetch-dest") === "document";
  if (!isSeen || status < 500 || !isText || headers.has("content-encoding")) return response;
  const text = (await response.text()).slice(0, MAX_CHARS);
  const error = thrown === undefined ? "" : describeError(thrown);
  const shown = [text, error].filter((each) => each !== "").map((each) =>
    `<pre>${escape(each)}</pre>`
  );
  const changed = new Headers(headers);
  changed.set("content-type", "text/html; charset=utf-8");
  return new Response(`<!doctype html>\n<title>${status}</title>\n${shown.join("\n")}\n`, {
    ...{ status, headers: changed },
  });
}

function escape(text: string): string {
  return text.replace(/[&<>]/g, (mark) => `&#${mark.charCodeAt(0)};`);
}

/** An answer as it was, or a page with the script behind its end. */
export function withScript(response: Response, method: string, page: DevelopmentPage): Response {
  const { status, statusText } = response;
  if (!isPage(status, response.headers.get("content-type"))) return response;
  const known = headersOf(response);
  const codings = codingsOf(known.get("content-encoding"));
  const decoder = codings.length === 1 ? decoderOf(codings[0]!) : undefined;
  if (codings.length > 0 && decoder === undefined) return response;
  const { body } = response;
  if (body === null) return response;
  const headers = new Headers(known);
  const tag = new TextEncoder().encode(addTo(headers, method, page));
  const plain = decoder === undefined ? body : decode(body, decoder);
  const longer = plain.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>({
      transform: (chunk, controller) => controller.enqueue(chunk as Uint8Array<ArrayBuffer>),
      flush: (controller) => controller.enqueue(tag),
    }),
  );
  return new Response(longer, { status, statusText, headers });
}
