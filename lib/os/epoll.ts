/** What the kernel counts of epoll(7) for all processes of a user together. */
import { closeDescriptor, duplicateDescriptor } from "./descriptor.ts";
import { errno } from "./errno.ts";
import { readProc } from "./file.ts";
import { loadLibc } from "./libc.ts";
import { makePipe } from "./pipe.ts";

const CLOEXEC = 0o2000000;
const CTL_ADD = 1;
const ENOSPC = 28;
/** No architecture has a longer struct epoll_event. */
const EVENT = new Uint8Array(16);

/** Enough to see that a process watches much by one descriptor. */
const FDINFO_BYTES = 8 * 1024;

/** More than this is not of one descriptor alone. */
export const FEW_WATCHES = 150;

const libc = loadLibc({
  create: { name: "epoll_create1", parameters: ["i32"], result: "i32" },
  control: { name: "epoll_ctl", parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
});

/** Whether this user may watch so many more descriptors: it tries. Linux only; elsewhere, yes. */
export function mayWatch(count: number): boolean {
  if (Deno.build.os !== "linux") return true;
  const opened: number[] = [];
  try {
    opened.push(...makePipe(), libc.symbols.create(CLOEXEC));
    const [read, , epoll] = opened as [number, number, number];
    while (opened.length < count + 3) {
      const copy = duplicateDescriptor(read);
      opened.push(copy);
      if (libc.symbols.control(epoll, CTL_ADD, copy, EVENT) !== 0) return errno() !== ENOSPC;
    }
    return true;
  } catch {
    // Too few descriptors are told elsewhere.
    return true;
  } finally {
    opened.forEach(closeDescriptor);
  }
}

/**
 * About how much a process watches, by its descriptors below `limit` (proc_pid_fdinfo(5)): of each that
 * watches no more than some hundred counts. One that it has sent and nobody has received counts as much:
 * what that watches nobody sees.
 */
export function countWatches(pid: number, limit: number): number {
  let count = 0;
  for (let fd = 0; fd < limit; fd++) {
    const text = readProc(`${pid}/fdinfo/${fd}`, FDINFO_BYTES) ?? "";
    const [, parked = 0] = text.match(/^scm_fds: (\d+)/m) ?? [];
    count += (text.match(/^tfd:/gm)?.length ?? 0) + FEW_WATCHES * Number(parked);
  }
  return count;
}
