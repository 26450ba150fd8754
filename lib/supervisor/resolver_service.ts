/** The resolver, as the supervisor has it: it is asked for names, and answers with addresses. */
import * as z from "zod/mini";
import { MAX_RESOLVED_BYTES, Resolved } from "../protocol/resolve.ts";
import { bestEffort } from "./best_effort.ts";
import { OwnService, type OwnServiceOptions } from "./own_service.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How long a look-up may take: the C library asks each name server for five seconds, twice. */
const DEADLINE_MS = 12_000;

/** How many look-ups may be under way: each of a name of the config. */
const MAX_PENDING = 4_096;

export class ResolverService extends OwnService {
  readonly #pending = new Map<number, (addresses: readonly string[]) => void>();
  #lastId = 0;

  constructor(options: OwnServiceOptions) {
    super(options, { role: "resolver" });
  }

  protected override serve(process: WorkerProcess): void {
    const take = (value: unknown) => {
      const { id, addresses } = z.parse(Resolved, value);
      this.#pending.get(id)?.(addresses);
    };
    bestEffort(
      "connect the resolver",
      () => this.openFeed(process, { maxBytes: MAX_RESOLVED_BYTES, take }),
    );
  }

  /**
   * Looks a name up.
   *
   * @throws {Error} if the resolver is not there, or does not answer
   */
  resolve(name: string): Promise<readonly string[]> {
    if (this.feed === undefined) return Promise.reject(new Error("the resolver is not there"));
    if (this.#pending.size >= MAX_PENDING) return Promise.reject(new Error("it is busy"));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error("the resolver did not answer"));
      }, DEADLINE_MS);
      this.#pending.set(id, (addresses) => {
        clearTimeout(timer);
        this.#pending.delete(id);
        resolve(addresses);
      });
      this.say({ id, name });
    });
  }
}
