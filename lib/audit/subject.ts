/** The subject: makes attempts, as an attacker would who has taken a process over. */
import { type Attempt, Order, type Report } from "./attempt.ts";
import { ATTEMPTS } from "./attempts/catalogue.ts";

/** How long an attempt may take; a call that blocks for ever has failed. */
const ATTEMPT_TIMEOUT_MS = 30_000;

/** How much of a value is reported; a secret is short, and near the beginning. */
const MAX_TEXT = 65_536;

const BY_ID: ReadonlyMap<string, Attempt> = new Map(ATTEMPTS.map((each) => [each.id, each]));

/**
 * Makes an attempt.
 *
 * @throws if there is none of that id; what the attempt throws is part of the report
 */
export async function runAttempt({ id, world }: Order): Promise<Report> {
  const attempt = BY_ID.get(id);
  if (attempt === undefined) throw new Error(`No attempt ${id}`);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("It took too long")), ATTEMPT_TIMEOUT_MS);
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

/** A worker's app: it takes its orders as requests. */
export const app = {
  async fetch(request: Request): Promise<Response> {
    if (request.method !== "POST") return new Response("alive");
    return Response.json(await runAttempt(Order.parse(await request.json())));
  },
};
