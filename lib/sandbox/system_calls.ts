/**
 * The system calls that a worker's program decides about, with their numbers on x86_64 and, if it has
 * them, aarch64. A call that is not here does not exist for a worker: ENOSYS, as on an older kernel.
 * Source: the kernel's syscall_64.tbl and asm-generic/unistd.h.
 */

export type Arch = "x86_64" | "aarch64";

/** Calls by their names, with their numbers. */
export type Calls = Readonly<Record<string, readonly [x86_64: number, aarch64?: number]>>;

/**
 * What the C library, V8, Tokio and SQLite live on, of any version: also what older ones fall back to.
 * Where a path is named, Landlock answers. The spawner sets ids; without its capabilities nobody can.
 */
// deno-fmt-ignore
export const ALLOWED = {
  read: [0, 63], write: [1, 64], readv: [19, 65], writev: [20, 66], pread64: [17, 67],
  pwrite64: [18, 68], preadv: [295, 69], pwritev: [296, 70], preadv2: [327, 286],
  pwritev2: [328, 287], lseek: [8, 62], sendfile: [40, 71], copy_file_range: [326, 285],
  fsync: [74, 82], fdatasync: [75, 83], ftruncate: [77, 46], fallocate: [285, 47],
  fadvise64: [221, 223], readahead: [187, 213], flock: [73, 32], close: [3, 57],
  close_range: [436, 436], dup: [32, 23], dup2: [33], dup3: [292, 24], pipe2: [293, 59], pipe: [22],
  statx: [332, 291], stat: [4], lstat: [6], fstat: [5, 80], newfstatat: [262, 79],
  faccessat2: [439, 439], faccessat: [269, 48], access: [21], readlinkat: [267, 78], readlink: [89],
  getdents64: [217, 61], getdents: [78], getcwd: [79, 17], chdir: [80, 49], fchdir: [81, 50],
  umask: [95, 166], statfs: [137, 43], fstatfs: [138, 44], renameat2: [316, 276],
  renameat: [264, 38], rename: [82], unlinkat: [263, 35], unlink: [87], rmdir: [84],
  linkat: [265, 37], link: [86], symlinkat: [266, 36], symlink: [88], truncate: [76, 45],
  mmap: [9, 222], munmap: [11, 215], mremap: [25, 216], mprotect: [10, 226],
  pkey_mprotect: [329, 288], pkey_alloc: [330, 289], pkey_free: [331, 290], madvise: [28, 233],
  brk: [12, 214], msync: [26, 227], mlock: [149, 228], munlock: [150, 229], membarrier: [324, 283],
  mseal: [462, 462], futex: [202, 98], rseq: [334, 293], set_robust_list: [273, 99],
  set_tid_address: [218, 96], gettid: [186, 178], sched_yield: [24, 124],
  sched_get_priority_max: [146, 125], sched_get_priority_min: [147, 126], getcpu: [309, 168],
  arch_prctl: [158], exit: [60, 93], exit_group: [231, 94], rt_sigaction: [13, 134],
  rt_sigprocmask: [14, 135], rt_sigreturn: [15, 139], rt_sigpending: [127, 136],
  rt_sigsuspend: [130, 133], rt_sigtimedwait: [128, 137], sigaltstack: [131, 132], pause: [34],
  restart_syscall: [219, 128], epoll_create1: [291, 20], epoll_create: [213], epoll_ctl: [233, 21],
  epoll_pwait: [281, 22], epoll_pwait2: [441, 441], epoll_wait: [232], ppoll: [271, 73], poll: [7],
  pselect6: [270, 72], select: [23], eventfd2: [290, 19], eventfd: [284], timerfd_create: [283, 85],
  timerfd_settime: [286, 86], timerfd_gettime: [287, 87], nanosleep: [35, 101], wait4: [61, 260],
  waitid: [247, 95], accept4: [288, 242], accept: [43, 202], recvfrom: [45, 207],
  recvmsg: [47, 212], recvmmsg: [299, 243], getsockname: [51, 204], getpeername: [52, 205],
  getsockopt: [55, 209], getpid: [39, 172], getppid: [110, 173], getpgrp: [111], getuid: [102, 174],
  geteuid: [107, 175], getgid: [104, 176], getegid: [108, 177], getresuid: [118, 148],
  getresgid: [120, 150], getgroups: [115, 158], uname: [63, 160], sysinfo: [99, 179],
  getrusage: [98, 165], getrlimit: [97, 163], times: [100, 153], getrandom: [318, 278],
  gettimeofday: [96, 169], time: [201], setresuid: [117, 147], setresgid: [119, 149],
  setgroups: [116, 159],
} as const satisfies Calls;

/** Those whose arguments, or the policy, decide: see `seccomp.ts`. */
// deno-fmt-ignore
export const JUDGED = {
  clone: [56, 220], clone3: [435, 435], fork: [57], vfork: [58], execve: [59, 221],
  execveat: [322, 281], kill: [62, 129], socket: [41, 198], socketpair: [53, 199],
  connect: [42, 203], bind: [49, 200], listen: [50, 201], sendto: [44, 206], sendmsg: [46, 211],
  sendmmsg: [307, 269], shutdown: [48, 210], setsockopt: [54, 208], open: [2], openat: [257, 56],
  openat2: [437, 437], creat: [85], mkdir: [83], mkdirat: [258, 34], fchmod: [91, 52],
  ioctl: [16, 29], fcntl: [72, 25], prctl: [157, 167], prlimit64: [302, 261],
  setpriority: [141, 140], getpriority: [140, 141], sched_setaffinity: [203, 122],
  sched_getaffinity: [204, 123], sched_getattr: [315, 275], sched_getparam: [143, 121],
  sched_getscheduler: [145, 120], getpgid: [121, 155], getsid: [124, 156],
  clock_gettime: [228, 113], clock_getres: [229, 114], clock_nanosleep: [230, 115],
  seccomp: [317, 277],
} as const satisfies Calls;

/** Those that apps and libraries meet, and take a no of EPERM best for. */
// deno-fmt-ignore
export const REFUSED = {
  chmod: [90], fchmodat: [268, 53], fchmodat2: [452, 452], chown: [92], fchown: [93, 55],
  lchown: [94], fchownat: [260, 54], utime: [132], utimes: [235], futimesat: [261],
  utimensat: [280, 88], mknod: [133], mknodat: [259, 33], inotify_init: [253],
  inotify_init1: [294, 26], inotify_add_watch: [254, 27], memfd_create: [319, 279],
  tkill: [200, 130], tgkill: [234, 131], rt_sigqueueinfo: [129, 138], rt_tgsigqueueinfo: [297, 240],
  pidfd_open: [434, 434], pidfd_send_signal: [424, 424], setpgid: [109, 154], setsid: [112, 157],
  setrlimit: [160, 164], sched_setscheduler: [144, 119], sched_setparam: [142, 118],
  personality: [135, 92], landlock_create_ruleset: [444, 444],
  process_madvise: [440, 440], process_mrelease: [448, 448], kcmp: [312, 272],
  memfd_secret: [447, 447], quotactl: [179, 60], quotactl_fd: [443, 443], syslog: [103, 116],
  clock_adjtime: [305, 266], adjtimex: [159, 171], lookup_dcookie: [212, 18], nfsservctl: [180, 42],
  name_to_handle_at: [303, 264], fanotify_init: [300, 262], fanotify_mark: [301, 263],
  migrate_pages: [256, 238], move_pages: [279, 239], lsm_set_self_attr: [460, 460],
} as const satisfies Calls;

/** Those that no app and no runtime makes by itself: the supervisor is asked, says no, and tells. */
// deno-fmt-ignore
export const ALARMS = {
  ptrace: [101, 117], process_vm_readv: [310, 270], process_vm_writev: [311, 271],
  pidfd_getfd: [438, 438], mount: [165, 40], umount2: [166, 39], pivot_root: [155, 41],
  chroot: [161, 51], open_tree: [428, 428], open_tree_attr: [467, 467], move_mount: [429, 429],
  fsopen: [430, 430], fsconfig: [431, 431], fsmount: [432, 432], fspick: [433, 433],
  mount_setattr: [442, 442], unshare: [272, 97], setns: [308, 268], open_by_handle_at: [304, 265],
  bpf: [321, 280], perf_event_open: [298, 241], userfaultfd: [323, 282], io_uring_setup: [425, 425],
  io_uring_enter: [426, 426], io_uring_register: [427, 427], add_key: [248, 217],
  request_key: [249, 218], keyctl: [250, 219], modify_ldt: [154], kexec_load: [246, 104],
  kexec_file_load: [320, 294], init_module: [175, 105], finit_module: [313, 273],
  delete_module: [176, 106], reboot: [169, 142], swapon: [167, 224], swapoff: [168, 225],
  acct: [163, 89], iopl: [172], ioperm: [173], sethostname: [170, 161], setdomainname: [171, 162],
  settimeofday: [164, 170], clock_settime: [227, 112], vhangup: [153, 58],
} as const satisfies Calls;

const NUMBERS = { ...ALLOWED, ...JUDGED, ...REFUSED, ...ALARMS };

/** A system call that the program decides about. */
export type SystemCall = keyof typeof NUMBERS;

/** The number of a call, if the architecture has it. */
export function numberOf(call: SystemCall, arch: Arch): number | undefined {
  const numbers: Calls = NUMBERS;
  return numbers[call]![arch === "x86_64" ? 0 : 1];
}
