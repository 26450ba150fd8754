/** Keeps on record what this supervisor has started, and knows what one that was killed has left. */
import { roleText } from "../protocol/role.ts";
import { bestEffort } from "./best_effort.ts";
import { children, observeChildren } from "./child_table.ts";
import { Orphans } from "./orphans.ts";
import type { ProcessRecord } from "./process_record.ts";
import type { System } from "./system.ts";

export class RecordKeeper {
  readonly #system: System;
  #record: ProcessRecord | undefined;
  #endObserving: (() => void) | undefined;
  /** What a supervisor that was killed has left. */
  orphans = new Orphans([]);

  constructor(system: System) {
    this.#system = system;
  }

  /** Reads what is in a runtime folder, and writes there from now on. */
  open(folder: string): void {
    this.#record = this.#system.openProcessRecord(folder);
    this.orphans = new Orphans(this.#record.left().filter(({ pid }) => !children.has(pid)));
    this.#endObserving = observeChildren(() => this.#write());
  }

  /** Writes in another runtime folder, or anew in the same one. */
  move(folder: string): void {
    bestEffort("remove the record of processes", () => this.#record?.close());
    this.#record = this.#system.openProcessRecord(folder);
    this.#write();
  }

  #write(): void {
    const own = [...children].map(([pid, { role }]) => ({ pid, role: roleText(role) }));
    bestEffort("record the processes", () => this.#record?.write([...own, ...this.orphans.living]));
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
