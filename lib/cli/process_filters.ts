/**
 * Which stage of the wall the processes of a server have reached, as the kernel shows it from outside:
 * none of them can say so itself, and the supervisor need not.
 */
import { readProcess } from "../os/file.ts";
import type { Status } from "../protocol/control.ts";

/** How many seccomp programs hold a process that its supervisor has not; nothing where /proc hides it. */
export type FiltersOf = (pid: number) => number | undefined;

/** Of the processes of a server. */
export function filtersBeside({ pid: supervisor }: Pick<Status, "pid">): FiltersOf {
  const own = count(supervisor);
  return (pid) => {
    const all = own === undefined ? undefined : count(pid);
    return all === undefined ? undefined : all - own!;
  };
}

/** Linux 5.9 and newer says so (proc_pid_status(5)). A program is on all threads of a process, or on none. */
function count(pid: number): number | undefined {
  try {
    const text = readProcess(pid, "status");
    const [, found] = text?.match(/^Seccomp_filters:\s*(\d+)/m) ?? [];
    return found === undefined ? undefined : Number(found);
  } catch {
    // This command was not granted native code.
    return undefined;
  }
}

/** The status as JSON, with `filters` for each process. */
export function statusJson(status: Status, filtersOf = filtersBeside(status)): string {
  return JSON.stringify(status, (_, value) => {
    if (typeof value?.pid !== "number" || value.worker === undefined) return value;
    return { ...value, filters: filtersOf(value.pid) };
  });
}
