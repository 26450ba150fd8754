/** The code of a generation: what each of its processes is started from, as long as it lives. */
import { log } from "../base/log.ts";
import type { Code } from "../sandbox/process_code.ts";
import { isFolder } from "./image_store.ts";

export class GenerationCode {
  readonly #plan: () => Promise<Code>;
  #code: Code;
  #planning: Promise<Code> | undefined;

  /** @param plan makes the same anew, of the files that are there by then */
  constructor(code: Code, plan: () => Promise<Code>) {
    this.#code = code;
    this.#plan = plan;
  }

  /** Where it is kept. */
  get folder(): string {
    return this.#code.folder;
  }

  /** How it was found last. */
  get current(): Code {
    return this.#code;
  }

  /** By which it is found again. */
  get plan(): Code["plan"] {
    return this.#code.plan;
  }

  /**
   * What a process is started from. It is what the generation began with; only where somebody has
   * removed that, it is made anew.
   */
  async get(): Promise<Code> {
    const { folder } = this.#code;
    if (isFolder(folder)) return this.#code;
    this.#planning ??= this.#plan().finally(() => this.#planning = undefined);
    try {
      this.#code = await this.#planning;
      log.warn("image_made_again", {
        folder,
        hint: "Somebody removed it; it is of the files of now",
      });
    } catch (error) {
      // It may come up nevertheless, and somebody must serve.
      log.warn("image_gone", { folder, reason: (error as Error).message });
    }
    return this.#code;
  }
}
