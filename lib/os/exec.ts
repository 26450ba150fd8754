/** Puts another program in the place of this one, with its number, its children and what is kept for it. */
import { duplicateDescriptor, setCloseOnExec } from "./descriptor.ts";
import { describeErrno, errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { blockSignals, unblockSignals } from "./signals.ts";
import { textList, textOf } from "./text.ts";

const MAX_DESCRIPTOR = 65_536;
const MAX_LINK_BYTES = 4_096;

const libc = loadLibc({
  execve: { parameters: ["buffer", "buffer", "buffer"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  sysconf: { parameters: ["i32"], result: "i64" },
});

/**
 * Replaces this process's program (execve(2)). Every other thread ends, and every descriptor that is
 * closed on exec. HUP, INT, USR1, USR2 and TERM wait until the new program calls
 * {@link resetSignals}.
 *
 * @throws {Error} if the kernel refuses; everything is as before then
 */
export function replaceProgram(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): never {
  const argv = textList([program, ...args]);
  const envp = textList(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  blockSignals();
  libc.symbols.execve(textOf(program), argv.list, envp.list);
  const code = errno();
  unblockSignals();
  argv.keep();
  envp.keep();
  throw new Error(`Cannot execute ${program}: ${describeErrno(code)}`);
}

/** What a descriptor of this process names, such as a path or `pipe:[7]`; nothing if it is closed. */
export function descriptorTarget(fd: number): string | undefined {
  const target = new Uint8Array(MAX_LINK_BYTES);
  const length = libc.symbols.readlink(
    textOf(`/proc/self/fd/${fd}`),
    target,
    BigInt(target.length),
  );
  return length < 0n ? undefined : new TextDecoder().decode(target.subarray(0, Number(length)));
}

const _SC_OPEN_MAX = 4;

/** The descriptors above the standard ones whose target fits. */
export function findDescriptors(fits: (target: string) => boolean): number[] {
  const end = Math.min(Number(libc.symbols.sysconf(_SC_OPEN_MAX)), MAX_DESCRIPTOR);
  const found: number[] = [];
  for (let fd = 3; fd < end; fd++) {
    const target = descriptorTarget(fd);
    if (target !== undefined && fits(target)) found.push(fd);
  }
  return found;
}

/** Where copies for the next program begin: a shell before it uses the lowest ones by their numbers. */
const FIRST_COPY = 64;

/** A copy that the next program finds open. */
export function copyForExec(fd: number): number {
  const copy = duplicateDescriptor(fd, FIRST_COPY);
  setCloseOnExec(copy, false);
  return copy;
}
