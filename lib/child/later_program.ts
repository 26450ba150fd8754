/**
 * The second seccomp program of a process as data: it takes away what only the start needed. Pure;
 * `later_filter.ts` installs it. What the first program asks the supervisor about is allowed here: an error
 * would outrank the question, and with it the alarm (seccomp(2)).
 */
import type { CodePolicy } from "../protocol/program_data.ts";
import { type Arch, AUDIT_ARCH, type Instruction, numberOf } from "../sandbox/seccomp.ts";
import type { SystemCall } from "../sandbox/system_calls.ts";

/**
 * Calls that a process needs until it is about to run an app, and never again: its ids, what the loader
 * and the C library set for the first thread, V8's key, the descriptors of a fork, the pair of sockets by
 * which the runtime hears of signals, and this program itself.
 */
export const OF_THE_START: readonly SystemCall[] = [
  ...["setresuid", "setresgid", "setgroups", "arch_prctl", "set_tid_address"] as const,
  ...["pkey_alloc", "close_range", "socketpair", "seccomp"] as const,
];

const [LOAD, JUMP_EQUAL, JUMP_SET, RETURN] = [0x20, 0x15, 0x45, 0x06];
const [AT_NUMBER, AT_ARCH, AT_PROTECTION, AT_FLAGS] = [0, 4, 32, 40];
const PROT_EXEC = 4;
const MAP_ANONYMOUS = 0x20;

const ALLOW: Instruction = [RETURN, 0, 0, 0x7fff0000];
const REFUSE: Instruction = [RETURN, 0, 0, 0x00050001];
const KILL: Instruction = [RETURN, 0, 0, 0x80000000];

/** The program for an architecture. */
export function laterProgram(arch: Arch, { compiled, libraries }: CodePolicy): Instruction[] {
  const on = (call: Parameters<typeof numberOf>[0], body: readonly Instruction[]) => {
    const number = numberOf(call, arch);
    return number === undefined ? [] : [[JUMP_EQUAL, 0, body.length, number] as const, ...body];
  };
  const answer = (allowed: boolean) => allowed ? ALLOW : REFUSE;
  return [
    [LOAD, 0, 0, AT_ARCH],
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH[arch]],
    KILL,
    [LOAD, 0, 0, AT_NUMBER],
    ...on("mmap", [
      [LOAD, 0, 0, AT_PROTECTION],
      [JUMP_SET, 1, 0, PROT_EXEC],
      ALLOW,
      [LOAD, 0, 0, AT_FLAGS],
      [JUMP_SET, 0, 1, MAP_ANONYMOUS],
      answer(compiled),
      answer(libraries),
    ]),
    ...(["mprotect", "pkey_mprotect"] as const).flatMap((call) =>
      compiled
        ? []
        : on(call, [[LOAD, 0, 0, AT_PROTECTION], [JUMP_SET, 0, 1, PROT_EXEC], REFUSE, ALLOW])
    ),
    ...OF_THE_START.flatMap((call) => on(call, [REFUSE])),
    ALLOW,
  ];
}
