/**
 * A file in the runtime folder that names the processes which a supervisor has started: what is left of
 * them when it is killed is found by it. A number alone names nobody, since it may be another's by then.
 */
import { join } from "node:path";
import * as z from "zod/mini";
import { readBootId } from "../os/file.ts";
import { startOf } from "../os/process.ts";

/** A process, told from any other that had its number or will have it. */
export interface KnownProcess {
  readonly pid: number;
  /** Its start, in clock ticks since the machine's. */
  readonly start: string;
  readonly role: string;
}

const Content = z.strictObject({
  boot: z.string(),
  processes: z.array(z.strictObject({
    pid: z.int().check(z.minimum(2)),
    start: z.string().check(z.regex(/^\d+$/)),
    role: z.string().check(z.maxLength(256)),
  })).check(z.maxLength(10_000)),
});

/** The record in use. */
export interface ProcessRecord {
  /** Those in it that live, as it was when it was opened. */
  left(): KnownProcess[];
  write(processes: readonly { readonly pid: number; readonly role: string }[]): void;
  /** Removes it. */
  close(): void;
}

/** Opens the record of a runtime folder whose lock is this process's. */
export function openProcessRecord(folder: string): ProcessRecord {
  const path = join(folder, "processes.json");
  const left = readRecord(path).filter(lives);
  return {
    left: () => left,
    write(processes) {
      const known = processes.flatMap(({ pid, role }) => {
        const start = startOf(pid);
        return start === undefined ? [] : [{ pid, start, role }];
      });
      // One that is written half must never be read.
      const next = `${path}.new`;
      Deno.writeTextFileSync(next, JSON.stringify({ boot: readBootId(), processes: known }), {
        mode: 0o600,
      });
      Deno.renameSync(next, path);
    },
    close() {
      try {
        Deno.removeSync(path);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    },
  };
}

/** Whether it is the same process still. */
export function lives({ pid, start }: KnownProcess): boolean {
  return startOf(pid) === start;
}

/** What cannot be read names nobody. */
function readRecord(path: string): readonly KnownProcess[] {
  try {
    const { boot, processes } = z.parse(Content, JSON.parse(Deno.readTextFileSync(path)));
    return boot === readBootId() ? processes : [];
  } catch {
    return [];
  }
}
