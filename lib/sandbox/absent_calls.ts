/**
 * The other system calls of the kernel: those that do not exist for a worker. For what looks at them
 * from outside: the audit, tests and the documentation. The same sources as `system_calls.ts`.
 */
import { ALARMS, ALLOWED, type Arch, type Calls, JUDGED, REFUSED } from "./system_calls.ts";

// deno-fmt-ignore
export const ABSENT = {
  _sysctl: [156], afs_syscall: [183], alarm: [37], cachestat: [451, 451], capget: [125, 90],
  capset: [126, 91], create_module: [174], epoll_ctl_old: [214], epoll_wait_old: [215],
  fgetxattr: [193, 10], file_getattr: [468, 468], file_setattr: [469, 469], flistxattr: [196, 13],
  fremovexattr: [199, 16], fsetxattr: [190, 7], futex_requeue: [456, 456], futex_wait: [455, 455],
  futex_waitv: [449, 449], futex_wake: [454, 454], get_kernel_syms: [177],
  get_mempolicy: [239, 236], get_robust_list: [274, 100], get_thread_area: [211],
  getitimer: [36, 102], getpmsg: [181], getxattr: [191, 8], getxattrat: [464, 464],
  inotify_rm_watch: [255, 28], io_cancel: [210, 3], io_destroy: [207, 1], io_getevents: [208, 4],
  io_pgetevents: [333, 292], io_setup: [206, 0], io_submit: [209, 2], ioprio_get: [252, 31],
  ioprio_set: [251, 30], landlock_add_rule: [445, 445], landlock_restrict_self: [446, 446],
  lgetxattr: [192, 9], listmount: [458, 458], listns: [470, 470], listxattr: [194, 11],
  listxattrat: [465, 465], llistxattr: [195, 12], lremovexattr: [198, 15], lsetxattr: [189, 6],
  lsm_get_self_attr: [459, 459], lsm_list_modules: [461, 461], map_shadow_stack: [453, 453],
  mbind: [237, 235], mincore: [27, 232], mlock2: [325, 284], mlockall: [151, 230],
  mq_getsetattr: [245, 185], mq_notify: [244, 184], mq_open: [240, 180],
  mq_timedreceive: [243, 183], mq_timedsend: [242, 182], mq_unlink: [241, 181], msgctl: [71, 187],
  msgget: [68, 186], msgrcv: [70, 188], msgsnd: [69, 189], munlockall: [152, 231], putpmsg: [182],
  query_module: [178], remap_file_pages: [216, 234], removexattr: [197, 14],
  removexattrat: [466, 466], rseq_slice_yield: [471, 471], sched_rr_get_interval: [148, 127],
  sched_setattr: [314, 274], security: [185], semctl: [66, 191], semget: [64, 190],
  semop: [65, 193], semtimedop: [220, 192], set_mempolicy: [238, 237],
  set_mempolicy_home_node: [450, 450], set_thread_area: [205], setfsgid: [123, 152],
  setfsuid: [122, 151], setgid: [106, 144], setitimer: [38, 103], setregid: [114, 143],
  setreuid: [113, 145], setuid: [105, 146], setxattr: [188, 5], setxattrat: [463, 463],
  shmat: [30, 196], shmctl: [31, 195], shmdt: [67, 197], shmget: [29, 194], signalfd: [282],
  signalfd4: [289, 74], splice: [275, 76], statmount: [457, 457], sync: [162, 81],
  sync_file_range: [277, 84], syncfs: [306, 267], sysfs: [139], tee: [276, 77],
  timer_create: [222, 107], timer_delete: [226, 111], timer_getoverrun: [225, 109],
  timer_gettime: [224, 108], timer_settime: [223, 110], tuxcall: [184], uprobe: [336],
  uretprobe: [335], uselib: [134], ustat: [136], vmsplice: [278, 75], vserver: [236],
} as const satisfies Calls;

const NUMBERS = { ...ALLOWED, ...JUDGED, ...REFUSED, ...ALARMS, ...ABSENT };

/** Any system call that the kernel has. */
export type AnyCall = keyof typeof NUMBERS;

/** All of them. */
export const ANY_CALLS = Object.keys(NUMBERS) as readonly AnyCall[];

/** The number of any call, if the architecture has it. */
export function anyNumberOf(call: AnyCall, arch: Arch): number | undefined {
  const numbers: Calls = NUMBERS;
  return numbers[call]![arch === "x86_64" ? 0 : 1];
}
