/** An app in the hands of a test: it does what it is told, with what its worker may. */
import type { Server } from "./server.ts";

/** Answers with what came of the code that it is sent: a taken-over worker, if you like. */
export const OBEYING_APP = `
const AsyncFunction = (async () => {}).constructor;
export default {
  async fetch(request) {
    try {
      const value = await new AsyncFunction(await request.text())();
      return Response.json({ ok: value ?? null });
    } catch (error) {
      return Response.json({ denied: error.name, message: error.message });
    }
  },
};
`;

/** What came of it. */
export interface Outcome {
  readonly ok?: unknown;
  readonly denied?: string;
  readonly message?: string;
}

/** Runs code in the worker; it may use `await` and `return`, and `native` if it is a wide one. */
export async function tell(server: Server, body: string): Promise<Outcome> {
  return await (await server.get("/", { method: "POST", body })).json();
}

/** The name of the error that the code ends in, in the worker. */
export async function denial(server: Server, code: string): Promise<string | undefined> {
  return (await tell(server, code)).denied;
}
