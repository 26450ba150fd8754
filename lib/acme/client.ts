/** A client of RFC 8555: from an account and names to a certificate. */
import { sleep } from "../base/sleep.ts";
import * as z from "zod/mini";
import { base64url, keyAuthorization, sign, type StoredAccount } from "./account.ts";
import { AcmeError } from "./problem.ts";

/** The longest answer, in bytes: far more than any chain. */
const MAX_ANSWER_BYTES = 512 * 1024;

/** How long one request may take. */
const REQUEST_MS = 30_000;

/** How often a request is made again whose nonce the authority does not take. */
const MAX_NONCES = 20;

/** How long an order may take, and the shortest and longest time between two looks at it. */
const ORDER_MS = 5 * 60_000;
const LOOK_MS = [1_000, 15_000] as const;

const PREFIX = "urn:ietf:params:acme:error:";

const Text = z.string().check(z.maxLength(2_048));
const Texts = z.array(Text).check(z.maxLength(200));

/** RFC 7807; what else is in it is of no use here. */
const ProblemText = z.object({
  type: z._default(Text, ""),
  detail: z._default(z.string(), ""),
});
const Directory = z.object({ newNonce: Text, newAccount: Text, newOrder: Text });
const Order = z.object({
  status: Text,
  authorizations: Texts,
  finalize: Text,
  certificate: z.optional(Text),
  error: z.optional(ProblemText),
});
const Authorization = z.object({
  status: Text,
  identifier: z.object({ value: Text }),
  challenges: z.array(z.object({
    type: Text,
    url: Text,
    status: Text,
    token: z.optional(z.string().check(z.regex(/^[A-Za-z0-9_-]{16,256}$/))),
    error: z.optional(ProblemText),
  })).check(z.maxLength(20)),
});

/** What an authority has answered. */
interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface AcmeClientOptions {
  /** The URL of the authority's directory. */
  readonly directory: string;
  readonly email?: string | undefined;
  /** A further authority that vouches for this one's own server, in PEM. */
  readonly trust?: string | undefined;
  /** Has a challenge answered from now on. */
  readonly answer: (token: string, text: string) => void;
  readonly signal: AbortSignal;
}

export class AcmeClient {
  readonly #options: AcmeClientOptions;
  readonly #client: Deno.HttpClient;
  #nonce: string | undefined;
  #account: StoredAccount;

  constructor(account: StoredAccount, options: AcmeClientOptions) {
    const { trust } = options;
    this.#options = options;
    this.#account = account;
    this.#client = Deno.createHttpClient({
      ...trust !== undefined && { caCerts: [trust] },
      poolIdleTimeout: 5_000,
    });
  }

  /** With what the authority has called it, once it has. */
  get account(): StoredAccount {
    return this.#account;
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Has a certificate issued.
   *
   * @param request what is asked for, in DER
   * @returns the certificate with its chain, in PEM
   * @throws {AcmeError} if that fails
   */
  async issue(names: readonly string[], request: Uint8Array): Promise<string> {
    const directory = this.#parse(Directory, await this.#get(this.#options.directory));
    await this.#signIn(directory);
    const identifiers = names.map((value) => ({ type: "dns", value }));
    const made = await this.#post(directory, directory.newOrder, { identifiers });
    const url = made.headers.get("location");
    if (url === null) throw new AcmeError("The authority has named no order");
    const deadlineMs = performance.now() + ORDER_MS;
    const order = this.#parse(Order, made);
    for (const each of order.authorizations) await this.#authorize(directory, each, deadlineMs);
    const look = async () => {
      const reply = await this.#post(directory, url);
      const found = this.#parse(Order, reply);
      if (found.status === "invalid") throw refusal("The order has failed", found.error);
      return { found, reply };
    };
    const ready = await this.#until(look, deadlineMs, ({ status }) => status !== "pending");
    if (ready.status === "ready") {
      await this.#post(directory, order.finalize, { csr: base64url(request) });
    }
    const done = await this.#until(look, deadlineMs, ({ status }) => status === "valid");
    if (done.certificate === undefined) throw new AcmeError("The authority names no certificate");
    return (await this.#post(directory, done.certificate)).text;
  }

  /** Makes the account known, or finds out how the authority calls it. */
  async #signIn(directory: z.infer<typeof Directory>): Promise<void> {
    if (this.#account.url !== null) return;
    const { email } = this.#options;
    const contact = email === undefined ? {} : { contact: [`mailto:${email}`] };
    const wanted = { termsOfServiceAgreed: true, ...contact };
    const { headers } = await this.#post(directory, directory.newAccount, wanted);
    const url = headers.get("location");
    if (url === null) throw new AcmeError("The authority has named no account");
    this.#account = { ...this.#account, url };
  }

  async #authorize(
    directory: z.infer<typeof Directory>,
    url: string,
    deadlineMs: number,
  ): Promise<void> {
    const look = async () => {
      const reply = await this.#post(directory, url);
      return { found: this.#parse(Authorization, reply), reply };
    };
    const { found } = await look();
    if (found.status === "valid") return;
    const { value: name } = found.identifier;
    const challenge = found.challenges.find(({ type }) => type === "http-01");
    if (challenge?.token === undefined) {
      throw new AcmeError(`The authority does not ask for ${name} by HTTP`, {
        refused: true,
        hint:
          "A wildcard, and some authorities, need other challenges: take another name or another " +
          "acme.directory",
      });
    }
    const { token } = challenge;
    this.#options.answer(token, await keyAuthorization(this.#account, token));
    await this.#post(directory, challenge.url, {});
    const after = await this.#until(look, deadlineMs, ({ status }) => status !== "pending");
    if (after.status === "valid") return;
    const { error } = after.challenges.find(({ type }) => type === "http-01") ?? {};
    throw refusal(`${name} is not proven`, error);
  }

  /** Looks again and again, as seldom as the authority asks for. */
  async #until<Found>(
    look: () => Promise<{ found: Found; reply: Reply }>,
    deadlineMs: number,
    isDone: (found: Found) => boolean,
  ): Promise<Found> {
    const [least, most] = LOOK_MS;
    for (;;) {
      const { found, reply } = await look();
      if (isDone(found)) return found;
      if (performance.now() > deadlineMs) {
        throw new AcmeError(`The authority did not decide within ${ORDER_MS / 60_000} minutes`);
      }
      const asked = retryAfterOf(reply.headers);
      await sleep(Math.min(most, Math.max(least, asked)), this.#options.signal);
      this.#options.signal.throwIfAborted();
    }
  }

  async #post(
    directory: z.infer<typeof Directory>,
    url: string,
    payload?: unknown,
  ): Promise<Reply> {
    for (let nonces = 1;; nonces++) {
      const nonce = this.#nonce ?? await this.#newNonce(directory);
      this.#nonce = undefined;
      try {
        return await this.#send(url, {
          method: "POST",
          headers: { "content-type": "application/jose+json" },
          body: await sign(this.#account, { url, nonce, payload }),
        });
      } catch (error) {
        const { type } = error as Partial<AcmeError>;
        // It is gone there, and its name with it.
        if (type === "accountDoesNotExist") this.#account = { ...this.#account, url: null };
        if (type !== "badNonce" || nonces === MAX_NONCES) throw error;
      }
    }
  }

  async #newNonce({ newNonce }: z.infer<typeof Directory>): Promise<string> {
    await this.#send(newNonce, { method: "HEAD" });
    const nonce = this.#nonce;
    if (nonce === undefined) throw new AcmeError("The authority gives no nonce");
    return nonce;
  }

  #get(url: string): Promise<Reply> {
    return this.#send(url, { method: "GET" });
  }

  /** @throws {AcmeError} for every answer that is none */
  async #send(url: string, init: RequestInit): Promise<Reply> {
    const { directory, signal } = this.#options;
    // It may dial nobody else, and what an authority answers is not to choose whom.
    if (!URL.canParse(url) || new URL(url).origin !== new URL(directory).origin) {
      throw new AcmeError(`The authority of ${directory} names another server: ${url}`, {
        hint: "Set acme.directory to the URL of that server's directory",
      });
    }
    let reply: Reply;
    try {
      const answer = await fetch(url, {
        ...init,
        client: this.#client,
        redirect: "error",
        signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
      });
      const text = await readText(answer);
      reply = { status: answer.status, headers: answer.headers, text };
    } catch (error) {
      if (signal.aborted || error instanceof AcmeError) throw error;
      const { message } = (error as Error).cause as Partial<Error> | undefined ?? error as Error;
      throw new AcmeError(`Cannot reach ${directory}: ${message}`, {
        hint: "See that this machine may connect to it, and acme.directory",
      });
    }
    this.#nonce = reply.headers.get("replay-nonce") ?? this.#nonce;
    if (reply.status < 400) return reply;
    throw refused(reply, directory);
  }

  #parse<Kind extends z.ZodMiniType>(schema: Kind, { text }: Reply): z.infer<Kind> {
    try {
      return z.parse(schema, JSON.parse(text));
    } catch {
      throw new AcmeError(`${this.#options.directory} does not speak ACME (RFC 8555)`, {
        hint: "Set acme.directory to the URL of the authority's ACME directory",
      });
    }
  }
}

/** An answer that is a problem, or that somebody between has written. */
function refused({ status, headers, text }: Reply, directory: string): AcmeError {
  const retryAfterMs = retryAfterOf(headers);
  try {
    const { type, detail } = z.parse(ProblemText, JSON.parse(text));
    if (type.startsWith(PREFIX)) {
      return refusal("The authority refuses", { type, detail }, retryAfterMs);
    }
  } catch {
    // Told by its number.
  }
  if (status === 429) {
    return refusal(
      "The authority refuses",
      { type: `${PREFIX}rateLimited`, detail: "" },
      retryAfterMs,
    );
  }
  return new AcmeError(`${directory} answered with status ${status}`, { retryAfterMs });
}

function refusal(
  what: string,
  { type, detail }: z.infer<typeof ProblemText> = { type: "", detail: "" },
  retryAfterMs = 0,
): AcmeError {
  const known = type.startsWith(PREFIX) ? type.slice(PREFIX.length) : "unknown";
  const found = [detail, known].filter((each) => each !== "" && each !== "unknown").join(", ");
  return new AcmeError(found === "" ? what : `${what}: ${found}`, { type: known, retryAfterMs });
}

async function readText({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, bytes] = ["", 0];
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new AcmeError("The authority answers without end");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** In milliseconds: of seconds, or of a date (RFC 9110, 10.2.3). */
function retryAfterOf(headers: Headers): number {
  const text = headers.get("retry-after") ?? "";
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}
