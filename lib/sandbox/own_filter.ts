/** The seccomp program of the supervisor itself, as data: what it never does, whoever has it in his hands. */
import { type Arch, type Instruction, numberOf, type SystemCall } from "./seccomp.ts";
import { ALARMS } from "./system_calls.ts";

/** What it does to processes behind a wall. */
const OWN: readonly SystemCall[] = ["process_vm_readv", "pidfd_getfd"];

/** What is an alarm where a worker does it, and more calls into processes, the kernel and the machine. */
const NEVER: readonly SystemCall[] = [
  ...(Object.keys(ALARMS) as SystemCall[]).filter((call) => ![...OWN, "unshare"].includes(call)),
  ...["process_madvise", "process_mrelease", "kcmp", "memfd_secret", "personality"] as const,
  ...["quotactl", "quotactl_fd", "syslog", "clock_adjtime", "adjtimex", "lookup_dcookie"] as const,
  ...["nfsservctl", "name_to_handle_at", "fanotify_init", "fanotify_mark"] as const,
  ...["migrate_pages", "move_pages", "lsm_set_self_attr"] as const,
];

const AUDIT_ARCH: Record<Arch, number> = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };

/** Above all numbers of a native call on x86_64 is the x32 ABI. */
const X32_BIT = 0x40000000;

const [LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN] = [0x20, 0x15, 0x35, 0x06];
const [AT_NUMBER, AT_ARCH, AT_FLAGS] = [0, 4, 16];

/** All that a thread may have for itself: a working folder and a mask, for a process of another user. */
const CLONE_FS = 0x200;

const ALLOW: Instruction = [RETURN, 0, 0, 0x7fff0000];

/**
 * SECCOMP_RET_TRACE: where nobody traces, the call fails with ENOSYS. Every child inherits this
 * program, and of several the strictest answer counts: an error would keep the question that a worker's
 * own program asks from the supervisor, and so its alarm. This one gives way to a question (seccomp(2)).
 */
const ABSENT: Instruction = [RETURN, 0, 0, 0x7ff00000];

/** The program for an architecture. */
export function ownProgram(arch: Arch): Instruction[] {
  const numbers = NEVER.flatMap((call) => numberOf(call, arch) ?? []);
  return [
    [LOAD, 0, 0, AT_ARCH],
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH[arch]],
    ABSENT,
    [LOAD, 0, 0, AT_NUMBER],
    [JUMP_AT_LEAST, 0, 1, X32_BIT],
    ABSENT,
    [JUMP_EQUAL, 0, 4, numberOf("unshare", arch)!],
    [LOAD, 0, 0, AT_FLAGS],
    [JUMP_EQUAL, 1, 0, CLONE_FS],
    ABSENT,
    ALLOW,
    ...numbers.flatMap((number): Instruction[] => [[JUMP_EQUAL, 0, 1, number], ABSENT]),
    ALLOW,
  ];
}
