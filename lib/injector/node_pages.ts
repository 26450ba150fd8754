/** The same for apps that answer by a server of `node:http`. */
import type http from "node:http";
import type { Transform } from "node:stream";
import type { DevelopmentPage } from "../protocol/development.ts";
import { decoderOf } from "./decode.ts";
import { addTo, codingsOf, isPage, wantsPage } from "./page.ts";

type Method = (...all: unknown[]) => unknown;

/** Adds the script to what a server answers. */
export function injectIntoServer(server: http.Server, page: DevelopmentPage): void {
  const { emit } = server;
  server.emit = (name: string, ...all: unknown[]) => {
    if (name === "request" || name === "checkContinue") {
      const [request, response] = all as [http.IncomingMessage, http.ServerResponse];
      const destination = request.headers["sec-fetch-dest"];
      const { method = "GET" } = request;
      if (wantsPage(method, destination as string | undefined)) {
        watch(response, method, page);
      }
    }
    return Reflect.apply(emit, server, [name, ...all]) as boolean;
  };
}

/** Changes the head of an answer when it is about to be written, and its end. */
function watch(response: http.ServerResponse, method: string, page: DevelopmentPage): void {
  const own = response as unknown as Record<string, Method>;
  const { writeHead, write, end, flushHeaders } = own as Record<string, Method>;
  let judged = false;
  /** What is added, when it is known that this is a page. */
  let tag: string | undefined;
  let decoder: Transform | undefined;

  const finish = () => {
    // It writes what it is given, and what is written now is none of the app's.
    own.write = write!;
    return Reflect.apply(end!, response, [tag]);
  };
  const judge = (status: number) => {
    if (judged) return;
    judged = true;
    if (!isPage(status, headerOf(response, "content-type"))) return;
    const codings = codingsOf(headerOf(response, "content-encoding"));
    if (codings.length > 0) {
      decoder = codings.length === 1 ? decoderOf(codings[0]!) : undefined;
      if (decoder === undefined) return;
      decoder.on("data", (chunk: unknown) => Reflect.apply(write!, response, [chunk]));
      decoder.on("end", () => finish());
      // Who writes waits for that when it was told to.
      decoder.on("drain", () => response.emit("drain"));
      decoder.on("error", (error: Error) => response.destroy(error));
    }
    tag = addTo(
      {
        get: (name) => headerOf(response, name) ?? null,
        set: (name, value) => void response.setHeader(name, value),
        delete: (name) => response.removeHeader(name),
      },
      method,
      page,
    );
  };

  own.writeHead = (...all) => {
    if (judged || response.headersSent) return Reflect.apply(writeHead!, response, all);
    const [status, second, third] = all;
    const fields = typeof second === "string" ? third : second;
    // What is given here goes past the headers that were set.
    setAll(response, fields);
    judge(Number(status));
    return Reflect.apply(
      writeHead!,
      response,
      typeof second === "string" ? [status, second] : [status],
    );
  };
  own.flushHeaders = (...all) => {
    judge(response.statusCode);
    return Reflect.apply(flushHeaders!, response, all);
  };
  own.write = (...all) => {
    judge(response.statusCode);
    return decoder === undefined
      ? Reflect.apply(write!, response, all)
      : Reflect.apply(decoder.write as Method, decoder, all);
  };
  own.end = (...all) => {
    judge(response.statusCode);
    if (tag === undefined) return Reflect.apply(end!, response, all);
    const done = all.find((each) => typeof each === "function") as (() => void) | undefined;
    const [chunk, encoding] = all.filter((each) => typeof each !== "function");
    const hasChunk = chunk !== undefined && chunk !== null;
    if (done !== undefined) response.once("finish", done);
    if (decoder !== undefined) {
      if (hasChunk) Reflect.apply(decoder.write as Method, decoder, [chunk, encoding]);
      decoder.end();
      return response;
    }
    if (hasChunk) Reflect.apply(write!, response, [chunk, encoding]);
    return finish();
  };
}

function headerOf(response: http.ServerResponse, name: string): string | undefined {
  const value = response.getHeader(name);
  return value === undefined ? undefined : String(value);
}

/** Sets what `writeHead` was given: an object, or a list of names and values. */
function setAll(response: http.ServerResponse, fields: unknown): void {
  if (fields === null || typeof fields !== "object") return;
  if (!Array.isArray(fields)) {
    for (const [name, value] of Object.entries(fields)) {
      if (value !== undefined) response.setHeader(name, value as string);
    }
    return;
  }
  const pairs: unknown[][] = Array.isArray(fields[0])
    ? fields as unknown[][]
    : Array.from({ length: fields.length / 2 }, (_, index) => fields.slice(2 * index).slice(0, 2));
  for (const [name] of pairs) response.removeHeader(String(name));
  for (const [name, value] of pairs) response.appendHeader(String(name), value as string);
}
