/** The suspect: an app that does what an attacker would do who has taken the app over. */
import { type Attempt, Order, type Report } from "./attempt.ts";
import { ATTEMPTS } from "./attempts/catalogue.ts";

/** How long an attempt may take; a call that blocks for ever got nowhere. */
const PATIENCE_MS = 8_000;

/** What is told of a value; a secret is short, and stands near the beginning. */
const MAX_TEXT = 65_536;

const BY_ID: ReadonlyMap<string, Attempt> = new Map(ATTEMPTS.map((each) => [each.id, each]));

export default {
  async fetch(request: Request): Promise<Response> {
    const { id, world } = Order.parse(await request.json());
    const attempt = BY_ID.get(id);
    if (attempt === undefined) return new Response(`No attempt ${id}`, { status: 404 });
    return Response.json(await commit(attempt, world) satisfies Report);
  },
};

async function commit(attempt: Attempt, world: Order["world"]): Promise<Report> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("It took too long")), PATIENCE_MS);
  try {
    return { returned: toText(await Promise.race([attempt.run(world), late.promise])) };
  } catch (error) {
    const { name, code, message } = (error ?? {}) as Partial<Error> & { code?: unknown };
    return {
      thrown: {
        name: String(name ?? typeof error),
        code: String(code ?? ""),
        message: String(message ?? error).slice(0, 500),
      },
    };
  } finally {
    clearTimeout(timer);
  }
}

function toText(value: unknown): string {
  if (value instanceof Uint8Array) return new TextDecoder().decode(value).slice(0, MAX_TEXT);
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "undefined";
  return text.slice(0, MAX_TEXT);
}
