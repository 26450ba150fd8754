/** Starts programs from the calling thread (posix_spawn(3)): what confines the thread holds them too. */
import { closeDescriptor, duplicateDescriptor } from "./descriptor.ts";
import { describeErrno } from "./errno.ts";
import { O_PATH_CLOEXEC, openFolder } from "./file.ts";
import { loadLibc } from "./libc.ts";
import { giveRealIdsBack, type Owner, takeRealIds } from "./process.ts";
import { textList, textOf } from "./text.ts";

const RESET_IDS = 1;
const SET_SIGNALS_DEFAULT = 4;
const SET_SIGNAL_MASK = 8;
const SIGPIPE = 13;
const SIGSET_BYTES = 128;
/** More than posix_spawnattr_t and posix_spawn_file_actions_t take; both are opaque. */
const OPAQUE_BYTES = 512;

/** A function of this name, whose outcome is a number of errno. */
function named<const Parameters extends readonly Deno.NativeType[]>(
  name: string,
  ...parameters: Parameters
) {
  return { name, parameters, result: "i32" } as const;
}

const libc = loadLibc({
  spawn: named("posix_spawn", "buffer", "buffer", "buffer", "buffer", "buffer", "buffer"),
  initActions: named("posix_spawn_file_actions_init", "buffer"),
  addClose: named("posix_spawn_file_actions_addclose", "buffer", "i32"),
  // Since glibc 2.34.
  addCloseFrom: {
    ...named("posix_spawn_file_actions_addclosefrom_np", "buffer", "i32"),
    optional: true,
  },
  addOpen: named("posix_spawn_file_actions_addopen", "buffer", "i32", "buffer", "i32", "u32"),
  addDescriptor: named("posix_spawn_file_actions_adddup2", "buffer", "i32", "i32"),
  addFolder: named("posix_spawn_file_actions_addchdir_np", "buffer", "buffer"),
  endActions: named("posix_spawn_file_actions_destroy", "buffer"),
  initAttributes: named("posix_spawnattr_init", "buffer"),
  setFlags: named("posix_spawnattr_setflags", "buffer", "i16"),
  setDefault: named("posix_spawnattr_setsigdefault", "buffer", "buffer"),
  setMask: named("posix_spawnattr_setsigmask", "buffer", "buffer"),
});

/** A program, and what it is started with. */
export interface Program {
  /** Its path. */
  readonly program: string;
  readonly args: readonly string[];
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Where it starts, which its account can enter; nothing for where the calling thread works. */
  readonly cwd: string | undefined;
  /** What it has open: the first one as its descriptor 0, and so on. They stay the caller's. */
  readonly descriptors: readonly number[];
  /** Ids to run as, and no other groups; only root may say. Linux only. */
  readonly account: Owner | undefined;
}

/**
 * Starts a program, and waits until the exec was let through. No signal is blocked in it. Descriptors
 * that are closed on exec do not reach it; see to it that all are.
 *
 * @param asked by this the kernel asks about the exec, and waits for an answer for as long as any process
 * has it: so the asker must not
 * @returns the number of its process, a child of this one that is the caller's to wait for
 * @throws {Error} if that fails, in whichever step
 */
export function spawnProgram(
  { program, args, env, cwd, descriptors, account }: Program,
  asked?: number,
): number {
  const [actions, attributes] = [new Uint8Array(OPAQUE_BYTES), new Uint8Array(OPAQUE_BYTES)];
  const { addCloseFrom, addClose, addOpen } = libc.symbols;
  // By itself: to load node:path takes each spawner longer than anything else that it does.
  const place = program.lastIndexOf("/");
  // The account may not reach the program by its path: the program is found in its folder, which this
  // thread can open. `which` is the descriptor of that folder in the child.
  const [which, folder] = account && addCloseFrom
    ? [descriptors.length + 1, openFolder(program.slice(0, place) || "/")]
    : [];
  const copies = folder === undefined ? [] : [folder];
  const found = which === undefined ? program : `/proc/self/fd/${which}${program.slice(place)}`;
  libc.symbols.initActions(actions);
  libc.symbols.initAttributes(attributes);
  try {
    for (const [index, fd] of descriptors.entries()) {
      // Put in their places one after the other: none may lie where another one is to come.
      const copy = duplicateDescriptor(fd, descriptors.length);
      copies.push(copy);
      must(libc.symbols.addDescriptor(actions, copy, index));
    }
    if (which !== undefined) {
      const copy = duplicateDescriptor(folder!, which);
      copies.push(copy);
      must(libc.symbols.addDescriptor(actions, copy, which - 1));
    }
    // Those of others that are spawned at the same time, too, where the C library can.
    if (addCloseFrom) must(addCloseFrom(actions, which ?? descriptors.length));
    else if (asked !== undefined) must(addClose(actions, asked));
    if (which !== undefined) {
      // A duplicate stays open over the exec, and what is opened at its own number does not.
      must(addOpen(actions, which, textOf(`/proc/self/fd/${which - 1}`), O_PATH_CLOEXEC, 0));
      must(addClose(actions, which - 1));
    }
    if (cwd !== undefined) must(libc.symbols.addFolder(actions, textOf(cwd)));
    const ids = account ? RESET_IDS : 0;
    must(libc.symbols.setFlags(attributes, SET_SIGNALS_DEFAULT | SET_SIGNAL_MASK | ids));
    const [none, pipe] = [new Uint8Array(SIGSET_BYTES), new Uint8Array(SIGSET_BYTES)];
    pipe[(SIGPIPE - 1) >> 3] = 1 << ((SIGPIPE - 1) & 7);
    must(libc.symbols.setMask(attributes, none));
    must(libc.symbols.setDefault(attributes, pipe));
    const pid = new Int32Array(1);
    const bytes = new Uint8Array(pid.buffer);
    const argv = textList([program, ...args]);
    const envp = textList(Object.entries(env).map(([name, value]) => `${name}=${value}`));
    const start = () =>
      libc.symbols.spawn(bytes, textOf(found), actions, attributes, argv.list, envp.list);
    const status = account ? asOwner(account, start) : start();
    argv.keep();
    envp.keep();
    must(status);
    return pid[0]!;
  } finally {
    libc.symbols.endActions(actions);
    copies.forEach(closeDescriptor);
  }
}

function must(status: number): void {
  if (status !== 0) throw new Error(describeErrno(status));
}

/**
 * Has the child take the real ids of its parent for its own: the parent is this thread, which has
 * other ones for that long. The saved ids go with them, so that no way back is left. The child has this
 * process's memory until its exec, and a change of ids may let its user look at that: see to it after.
 */
function asOwner(owner: Owner, start: () => number): number {
  try {
    takeRealIds(owner);
    return start();
  } finally {
    giveRealIdsBack();
  }
}
