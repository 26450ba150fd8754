/** Keeps on record what this supervisor has started, and knows what one that was killed has left. */
import { roleText } from "../protocol/role.ts";
import { attempt } from "./attempt.ts";
import { census, observeCensus } from "./census.ts";
import type { Inheritance } from "./inheritance.ts";
import { Orphans } from "./orphans.ts";
import type { ProcessRecord } from "./process_record.ts";
import type { System } from "./system.ts";

export class RecordKeeper {
  readonly #system: System;
  /** Processes of the program before this one that have not ended yet. */
  readonly #inherited: () => Inheritance["residents"];
  #record: ProcessRecord | undefined;
  #endObserving: (() => void) | undefined;
  /** What a supervisor that was killed has left. */
  orphans = new Orphans([]);

  constructor(system: System, inherited: () => Inheritance["residents"]) {
    this.#system = system;
    this.#inherited = inherited;
  }

  /** Reads what is in a runtime folder, and writes there from now on. */
  open(folder: string): void {
    this.#record = this.#system.openProcessRecord(folder);
    const own = new Set(this.#inherited().map(({ pid }) => pid));
    this.orphans = new Orphans(this.#record.left().filter(({ pid }) => !own.has(pid)));
    this.#endObserving = observeCensus(() => this.#write());
  }

  /** Writes in another runtime folder, or anew in the same one. */
  move(folder: string): void {
    attempt("remove the record of processes", () => this.#record?.close());
    this.#record = this.#system.openProcessRecord(folder);
    this.#write();
  }

  #write(): void {
    const started = [...census].map(([pid, { role }]) => ({ pid, role }));
    const own = [...started, ...this.#inherited()]
      .map(({ pid, role }) => ({ pid, role: roleText(role) }));
    attempt("record the processes", () => this.#record?.write([...own, ...this.orphans.living]));
  }

  close(): void {
    if (!this.#endObserving) return;
    this.#endObserving();
    this.#endObserving = undefined;
    this.orphans.letGo();
    // The next start is to know of those that are left.
    if (this.orphans.living.length === 0) this.#record?.close();
    else this.#write();
  }
}
