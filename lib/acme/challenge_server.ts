/** What is answered on port 80: the authority's questions, and clients that are sent on to HTTPS. */
import type http from "node:http";
import type { PlainAnswer } from "../child/plain_server.ts";

const CHALLENGES = "/.well-known/acme-challenge/";

const HTTPS_PORT = 443;

export interface ChallengeOptions {
  /** Those that clients are sent on to. */
  readonly names: readonly string[];
  /** Where HTTPS is. */
  readonly httpsPort: number;
}

export class Challenges {
  readonly #options: ChallengeOptions;
  readonly #answers = new Map<string, string>();

  constructor(options: ChallengeOptions) {
    this.#options = options;
  }

  add(token: string, text: string): void {
    this.#answers.set(token, text);
  }

  clear(): void {
    this.#answers.clear();
  }

  /** The answer to one request. */
  answer({ method, url = "/", headers }: http.IncomingMessage): PlainAnswer {
    const path = url.replace(/^https?:\/\/[^/]*(?=\/)/i, "");
    if (path.startsWith(CHALLENGES)) {
      const found = this.#answers.get(path.slice(CHALLENGES.length).replace(/\?.*$/s, ""));
      const isRead = method === "GET" || method === "HEAD";
      if (found !== undefined && isRead) return { status: 200, text: found };
    }
    const { names, httpsPort } = this.#options;
    const host = headers.host?.toLowerCase().replace(/:\d*$/, "").replace(/\.$/, "") ?? "";
    // Whoever sends clients to any host that they name serves those who lure them.
    if (!names.includes(host)) return { status: 421, text: "Misdirected Request\n" };
    const port = httpsPort === HTTPS_PORT ? "" : `:${httpsPort}`;
    const place = `https://${host}${port}${path.startsWith("/") ? path : "/"}`;
    if (!URL.canParse(place)) return { status: 400, text: "Bad Request\n" };
    return { status: 308, text: "", headers: { location: new URL(place).href } };
  }
}
