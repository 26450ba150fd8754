/** Apps and helpers in the hands of a test: what either may do shows in what came of code it is sent. */
import type { Server } from "./server.ts";
import { type Outcome, tell } from "./obeying_app.ts";
import { REPOSITORY } from "./project.ts";

/** What a module imports `defineHelper` and `helper` from. */
export const HELPER_MODULE = `file://${REPOSITORY}/lib/helper/mod.ts`;

/** Code for a schema that lets everything through. */
export const ANYTHING =
  `{ "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } }`;

/** A helper without any dependency; what `methods` says comes first. */
export function plainHelper(methods = ""): string {
  return `
const anything = ${ANYTHING};
const AsyncFunction = (async () => {}).constructor;
const method = (handle, more = {}) => ({ input: anything, output: anything, handle, ...more });
export default {
  ${methods}
  echo: method((value) => value),
  pid: method(() => Deno.pid, { retry: "safe" }),
  sleep: method(async (ms) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    return Deno.pid;
  }),
  hang: method(() => { for (;;); }),
  stall: method(() => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)),
  run: method((code, { signal }) => new AsyncFunction("signal", code)(signal)),
};
`;
}

/** An app that does what it is told, and has helpers to tell. */
export const TELLING_APP = `
import { helper, HelperError } from ${JSON.stringify(HELPER_MODULE)};
const AsyncFunction = (async () => {}).constructor;
/** What a call comes to, in words. */
async function outcome(call) {
  try {
    return await call;
  } catch (error) {
    return error instanceof HelperError ? error.code : error.name + ": " + error.message;
  }
}
Object.assign(globalThis, { helper, HelperError, outcome });
export default {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/pid") return Response.json(await helper("job").pid());
    if (url.pathname === "/sleep") return Response.json(await helper("job").sleep(Number(url.search.slice(1))));
    if (url.pathname === "/plain") return new Response("plain");
    try {
      const value = await new AsyncFunction("request", await request.text())(request);
      return value instanceof Response ? value : Response.json({ ok: value ?? null });
    } catch (error) {
      return Response.json({ denied: error.name, message: error.message, code: error.code });
    }
  },
};
`;

/** Runs code in the helper `job`, as the worker's app asks for it. */
export async function tellHelper(server: Server, code: string): Promise<Outcome> {
  return await tell(server, `return await helper("job").run(${JSON.stringify(code)})`);
}

/** What a call in the worker came to: its value, or the code of its error. */
export async function outcomeOf(server: Server, call: string): Promise<unknown> {
  const { ok, ...denied } = await tell(server, `return await outcome(${call})`);
  return ok ?? denied;
}
