/** The acme process: it gets certificates from an authority, renews them, and proves that names are ours. */
import { sleep } from "../base/sleep.ts";
import net from "node:net";
import type { Handed } from "../child/hand_over.ts";
import type { Equipment, Service } from "../child/life.ts";
import { PlainServer } from "../child/plain_server.ts";
import type { AcmeState } from "../protocol/acme.ts";
import { encodeFrame } from "../protocol/frame.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { createAccount } from "./account.ts";
import { type CertificateFacts, CertificateKey } from "./certificate.ts";
import { Challenges } from "./challenge_server.ts";
import { AcmeClient } from "./client.ts";
import { AcmeError, alarmAt, type Failure, renewalAt, retryMs } from "./problem.ts";
import { Store } from "./store.ts";

/** How many connections may be open on port 80. */
const MAX_CONNECTIONS = 1_024;

/** How often it looks whether something is due, and says how things stand: the clock may be set. */
const LOOK_MS = 60_000;

/** How often it is said again that a certificate ends. */
const ALARM_MS = 24 * 3_600_000;

const WRONG_CLOCK = "The new certificate is to be renewed already: see this machine's clock";

type AcmeConfig = Extract<RoleConfig, { role: "acme" }>;

/** Makes the service. */
export function createAcme({ configure, listeners, handOvers }: Equipment): Service {
  const { roleConfig } = configure;
  if (roleConfig.role !== "acme") {
    throw new Error(`An acme process was told to be a ${roleConfig.role}`);
  }
  const challenges = new Challenges(roleConfig);
  const server = new PlainServer(MAX_CONNECTIONS, (request) => challenges.answer(request));
  const renewal = new Renewal(roleConfig, challenges);
  return {
    load: () => renewal.prepare(),
    start: () => {
      handOvers.subscribe((handed) => renewal.begin(handed));
      for (const handle of listeners) server.listen(handle);
      return "node";
    },
    figures: () => server.figures(),
    drain: () => {
      renewal.stop();
      return Promise.resolve(server.stop());
    },
    close: () => Promise.resolve(),
  };
}

class Renewal {
  readonly #config: AcmeConfig;
  readonly #challenges: Challenges;
  readonly #store: Store;
  readonly #stop = new AbortController();
  #feed: net.Socket | undefined;
  #facts!: CertificateFacts;
  /** When the next try is due. */
  #dueMs = 0;
  #tries = 0;
  #alarmedMs = -Infinity;

  constructor(config: AcmeConfig, challenges: Challenges) {
    this.#config = config;
    this.#challenges = challenges;
    this.#store = new Store(config);
  }

  /** There is a certificate from here on. */
  async prepare(): Promise<void> {
    this.#facts = await this.#store.prepare();
    const { selfSigned, missing } = this.#facts;
    const isDue = selfSigned || missing.length > 0 || !await this.#store.isCurrent();
    this.#dueMs = isDue ? 0 : renewalAt(this.#facts, Math.random());
  }

  /** With the feed begins the work: the process whose place this one takes has ended by then. */
  begin({ message, handle }: Handed): void {
    if (message.type !== "feed") throw new Error(`Was handed a ${message.type}`);
    const feed = new net.Socket({ handle, readable: true, writable: true } as never);
    feed.on("error", () => {});
    feed.resume();
    this.#feed = feed;
    void this.#run();
  }

  stop(): void {
    this.#stop.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#tell();
      if (Date.now() >= this.#dueMs) await this.#try();
      this.#alarm();
      // Not much later than it is due, and never so late that a clock that was set goes unseen.
      await sleep(Math.max(0, Math.min(LOOK_MS, this.#dueMs - Date.now())), signal);
    }
  }

  async #try(): Promise<void> {
    try {
      await this.#issue();
      this.#dueMs = renewalAt(this.#facts, Math.random());
      this.#tell({ type: "issued" });
      // By a clock that is wrong, here or there, each would be due at once.
      if (this.#dueMs <= Date.now()) throw new AcmeError(WRONG_CLOCK, { refused: true });
      this.#tries = 0;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const failure = failureOf(error);
      const nextTryMs = retryMs(failure, ++this.#tries, Math.random());
      this.#dueMs = Date.now() + nextTryMs;
      const { reason, hint } = failure;
      this.#tell({
        ...{ type: "failed", nextTryMs },
        ...{ reason: reason.slice(0, 1_000), hint: hint.slice(0, 500) },
      });
    } finally {
      this.#challenges.clear();
    }
  }

  async #issue(): Promise<void> {
    const { directory, email, names, trust } = this.#config;
    const client = new AcmeClient(
      await this.#store.readAccount() ?? await createAccount(directory),
      {
        ...{ directory, email, signal: this.#stop.signal },
        trust: trust === undefined ? undefined : await Deno.readTextFile(trust),
        answer: (token, text) => this.#challenges.add(token, text),
      },
    );
    try {
      const key = await CertificateKey.create();
      const chain = await client.issue(names, await key.request(names));
      this.#facts = await this.#store.keep(chain, await key.pem());
    } finally {
      client.close();
      await this.#store.keepAccount(client.account);
    }
  }

  #alarm(): void {
    const now = Date.now();
    const { selfSigned } = this.#facts;
    if (selfSigned || now < alarmAt(this.#facts) || now < this.#alarmedMs + ALARM_MS) return;
    this.#alarmedMs = now;
    this.#tell({ type: "ends" });
  }

  #tell(event?: AcmeState["event"]): void {
    const { notAfter, selfSigned } = this.#facts;
    const state = { notAfter: Math.floor(notAfter / 1000), selfSigned, ...event && { event } };
    this.#feed?.write(encodeFrame(state satisfies AcmeState));
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof AcmeError) return error;
  const { message } = error as Error;
  const hint = "See that the acme folder in the runtime folder can be written, and has room";
  return {
    reason: `No certificate could be kept: ${message}`,
    hint,
    refused: true,
    retryAfterMs: 0,
  };
}
