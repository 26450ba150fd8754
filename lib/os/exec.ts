/** Replaces this process's program; process id, children and chosen descriptors stay. */
import { duplicateDescriptor, setCloseOnExec } from "./descriptor.ts";
import { describeErrno, errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { blockSignals, unblockSignals } from "./signals.ts";

const MAX_DESCRIPTOR = 65_536;
const MAX_LINK_BYTES = 4_096;
const WNOHANG = 1;
const ECHILD = 10;

const libc = loadLibc({
  execve: { parameters: ["buffer", "buffer", "buffer"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
  sysconf: { parameters: ["i32"], result: "i64" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
});

const text = (value: string) => new TextEncoder().encode(`${value}\0`);

/**
 * Replaces this process's program (execve(2)). Every other thread ends, and every descriptor that is
 * closed on exec. HUP, INT, USR1, USR2 and TERM wait until the new program calls
 * {@link resetSignals}.
 *
 * @throws {Error} if the kernel refuses; nothing has changed then
 */
export function replaceProgram(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): never {
  const kept: Uint8Array[] = [];
  const list = (values: readonly string[]) => {
    const addresses = values.map((value) => {
      const bytes = text(value);
      kept.push(bytes);
      return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
    });
    return new Uint8Array(BigUint64Array.from([...addresses, 0n]).buffer);
  };
  const argv = list([program, ...args]);
  const envp = list(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  blockSignals();
  libc.symbols.execve(text(program), argv, envp);
  const code = errno();
  unblockSignals();
  throw new Error(`Cannot execute ${program}: ${describeErrno(code)}, ${kept.length} arguments`);
}

/** The target of a descriptor of this process, such as a path or `pipe:[7]`; nothing if it is closed. */
export function descriptorTarget(fd: number): string | undefined {
  const target = new Uint8Array(MAX_LINK_BYTES);
  const length = libc.symbols.readlink(
    text(`/proc/self/fd/${fd}`),
    target,
    BigInt(target.length),
  );
  return length < 0n ? undefined : new TextDecoder().decode(target.subarray(0, Number(length)));
}

const _SC_OPEN_MAX = 4;

/** The descriptors above the standard ones with a matching target. */
export function findDescriptors(fits: (target: string) => boolean): number[] {
  const end = Math.min(Number(libc.symbols.sysconf(_SC_OPEN_MAX)), MAX_DESCRIPTOR);
  const found: number[] = [];
  for (let fd = 3; fd < end; fd++) {
    const target = descriptorTarget(fd);
    if (target !== undefined && fits(target)) found.push(fd);
  }
  return found;
}

/** The lowest number of copies for the next program: a shell that starts first uses the low ones. */
const FIRST_COPY = 64;

/** A copy that stays open in the next program. */
export function copyForExec(fd: number): number {
  const copy = duplicateDescriptor(fd, FIRST_COPY);
  setCloseOnExec(copy, false);
  return copy;
}

/**
 * Reads from a pipe without waiting.
 *
 * @returns nothing if there is no data now, an empty array at its end
 */
export function readAvailable(fd: number, maxBytes: number): Uint8Array<ArrayBuffer> | undefined {
  const pollfd = new Uint8Array(8);
  const view = new DataView(pollfd.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, 1, true);
  if (libc.symbols.poll(pollfd, 1n, 0) <= 0) return undefined;
  const bytes = new Uint8Array(maxBytes);
  const length = Number(libc.symbols.read(fd, bytes, BigInt(maxBytes)));
  return bytes.subarray(0, Math.max(0, length));
}

/**
 * Reaps a child if it has ended (waitpid(2)). Not for a child that Deno waits for.
 *
 * @returns whether it is gone
 */
export function reap(pid: number): boolean {
  const status = libc.symbols.waitpid(pid, null, WNOHANG);
  return status === pid || status < 0 && errno() === ECHILD;
}

const SIGKILL = 9;

/** Kills a child that was not reaped yet. */
export function killChild(pid: number): void {
  libc.symbols.kill(pid, SIGKILL);
}
