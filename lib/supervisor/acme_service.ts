/**
 * The acme process, as the supervisor has it. It says how its certificate stands, and puts it into a file;
 * what serves is started once more where that has changed.
 */
import * as z from "zod/mini";
import { log } from "../base/log.ts";
import { escapeUntrusted } from "../base/escape.ts";
import type { Config } from "../config/config.ts";
import { ACME_RATE, AcmeState, MAX_ACME_BYTES } from "../protocol/acme.ts";
import { RateLimit } from "../protocol/rate.ts";
import { bestEffort } from "./best_effort.ts";
import type { Listener } from "./listener.ts";
import { OwnService, type OwnServiceOptions } from "./own_service.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How often new certificates are taken, at once and in a second: one that was taken over changes them. */
const TAKEN = { burst: 3, perSecond: 1 / 600 } as const;

export type AcmeRole = Extract<RoleConfig, { role: "acme" }>;

export class AcmeService extends OwnService {
  readonly listeners: readonly Listener[];
  readonly #names: string[];
  readonly #renew: () => Promise<boolean>;
  readonly #taken = new RateLimit(TAKEN.burst, TAKEN.perSecond);
  #begun = false;
  #looking = false;
  #state: AcmeState | undefined;
  #trouble: string | undefined;

  /**
   * @param listeners of the table of listeners, which closes them
   * @param renew takes the certificate into use, if it has changed; says whether it has
   */
  constructor(
    options: OwnServiceOptions,
    role: AcmeRole,
    listeners: readonly Listener[],
    renew: () => Promise<boolean>,
  ) {
    super(options, role, listeners);
    this.listeners = listeners;
    this.#names = role.names;
    this.#renew = renew;
  }

  /** Whether it is what a change of listeners comes to. */
  has(listeners: readonly Listener[]): boolean {
    return listeners.length === this.listeners.length &&
      listeners.every((each) => this.listeners.includes(each));
  }

  /** Lets it work: none before it does any more. */
  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    if (this.process) this.serve(this.process);
  }

  protected override serve(process: WorkerProcess): void {
    if (!this.#begun) return;
    const rate = new RateLimit(ACME_RATE.burst, ACME_RATE.perSecond);
    const take = (value: unknown) => {
      if (!rate.take()) throw new Error("It says too much");
      this.#told(z.parse(AcmeState, value));
    };
    bestEffort(
      "feed the acme process",
      () => this.openFeed(process, { maxBytes: MAX_ACME_BYTES, take }),
    );
  }

  #told(state: AcmeState): void {
    this.#state = state;
    const { event } = state;
    const names = this.#names;
    const notAfter = new Date(state.notAfter * 1000).toISOString();
    if (event?.type === "issued") {
      this.#trouble = undefined;
      log.info("certificate_issued", { names, notAfter });
    } else if (event?.type === "ends") {
      const hint = "It is to be renewed long before: see certificate_failed, and holdfast status";
      log.error("certificate_ends", { names, notAfter, hint });
    } else if (event) {
      const [reason, hint] = [event.reason, event.hint].map((text) => escapeUntrusted(text));
      this.#trouble = reason!;
      log.warn("certificate_failed", { names, reason, hint, nextTryMs: event.nextTryMs });
    }
    void this.#look();
  }

  /** What it says is only why: the file is looked at each time. */
  async #look(): Promise<void> {
    if (this.#looking || !this.#taken.has(1)) return;
    this.#looking = true;
    try {
      if (await this.#renew()) this.#taken.take();
    } catch (error) {
      log.warn("certificate_unread", { reason: (error as Error).message });
    } finally {
      this.#looking = false;
    }
  }

  /** What `holdfast status` shows, without the process. */
  describe() {
    const { notAfter = null, selfSigned = false } = this.#state ?? {};
    const [names, trouble] = [this.#names, this.#trouble];
    const listen = this.listeners.map(({ text }) => text);
    return { listen, names, notAfter, selfSigned, ...trouble !== undefined && { trouble } };
  }
}

/** What the process of a config is told. */
export function acmeRole(
  { acme, listen }: Pick<Config, "listen"> & { acme: NonNullable<Config["acme"]> },
  certificate: string,
): AcmeRole {
  const { names, email, directory, trust } = acme;
  const https = listen.find(({ tls }) => tls);
  return {
    ...{ role: "acme", listeners: acme.listen.map(({ text }) => text), names: [...names] },
    ...{ email, directory, trust, certificate },
    httpsPort: Number(https?.text.split(":").at(-1)) || 443,
  };
}
