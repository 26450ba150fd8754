/** Classic BPF as seccomp(2) runs it: an interpreter, and the kernel's own checks of a program. */

/** AUDIT_ARCH_* of linux/audit.h. */
export const AUDIT_ARCH = { x86_64: 0xc000003e, aarch64: 0xc00000b7, i386: 0x40000003 } as const;

/** A system call as a program sees it: struct seccomp_data. */
export interface BpfCall {
  readonly arch: number;
  readonly number: number;
  readonly args?: readonly (number | bigint)[];
}

/** What a program may be at most, in instructions (BPF_MAXINSNS). */
export const MAX_INSTRUCTIONS = 4096;

const INSTRUCTION_BYTES = 8;
const DATA_BYTES = 64;

// Of all codes, those that the policy's programs are made of.
const LOAD_ABSOLUTE = 0x20;
const AND_CONSTANT = 0x54;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_AT_LEAST = 0x35;
const JUMP_IF_SET = 0x45;
const JUMP_ALWAYS = 0x05;
const RETURN_CONSTANT = 0x06;

const CONDITIONS: Readonly<Record<number, (accumulator: number, k: number) => boolean>> = {
  [JUMP_IF_EQUAL]: (accumulator, k) => accumulator === k,
  [JUMP_IF_AT_LEAST]: (accumulator, k) => accumulator >= k,
  [JUMP_IF_SET]: (accumulator, k) => (accumulator & k) !== 0,
};

interface Decoded {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

function decode(program: Uint8Array<ArrayBuffer>): Decoded[] {
  if (program.length % INSTRUCTION_BYTES !== 0) throw new Error(`${program.length} bytes`);
  const view = new DataView(program.buffer, program.byteOffset, program.length);
  return Array.from({ length: program.length / INSTRUCTION_BYTES }, (_, index) => {
    const at = index * INSTRUCTION_BYTES;
    return {
      code: view.getUint16(at, true),
      jt: view.getUint8(at + 2),
      jf: view.getUint8(at + 3),
      k: view.getUint32(at + 4, true),
    };
  });
}

/** struct seccomp_data of a call. */
export function encodeCall({ arch, number, args = [] }: BpfCall): DataView {
  const view = new DataView(new ArrayBuffer(DATA_BYTES));
  view.setUint32(0, number, true);
  view.setUint32(4, arch, true);
  args.forEach((value, index) =>
    view.setBigUint64(16 + 8 * index, BigInt.asUintN(64, BigInt(value)), true)
  );
  return view;
}

/**
 * Runs an encoded program over a call.
 *
 * @returns the value of its RET
 * @throws if it does what the kernel would not have taken
 */
export function runProgram(program: Uint8Array<ArrayBuffer>, call: BpfCall): number {
  return runInstructions(decode(program), encodeCall(call));
}

/** A program that is decoded once, for many calls, each a struct seccomp_data. */
export function prepareProgram(program: Uint8Array<ArrayBuffer>): (call: DataView) => number {
  const instructions = decode(program);
  return (call) => runInstructions(instructions, call);
}

/** What of two answers counts: the stricter one, and of two alike that of the newer program. */
export function stricterOf(older: number, newer: number): number {
  return ((older & ACTION) | 0) < ((newer & ACTION) | 0) ? older : newer;
}

function runInstructions(instructions: readonly Decoded[], data: DataView): number {
  let accumulator = 0;
  for (let at = 0; at < instructions.length; at++) {
    const { code, jt, jf, k } = instructions[at]!;
    const condition = CONDITIONS[code];
    if (code === RETURN_CONSTANT) return k;
    else if (code === LOAD_ABSOLUTE) accumulator = data.getUint32(k, true);
    else if (code === JUMP_ALWAYS) at += k;
    else if (code === AND_CONSTANT) accumulator = (accumulator & k) >>> 0;
    else if (condition) at += condition(accumulator, k) ? jt : jf;
    else throw new Error(`Instruction ${at} has the code ${code}`);
  }
  throw new Error("The program has no end");
}

/** What is wrong with a program, a line each; some of it the kernel would not mind. */
export function findProgramFaults(program: Uint8Array<ArrayBuffer>): string[] {
  const instructions = decode(program);
  const { length } = instructions;
  const faults: string[] = [];
  if (length === 0 || length > MAX_INSTRUCTIONS) faults.push(`${length} instructions`);
  if (instructions.at(-1)?.code !== RETURN_CONSTANT) faults.push("the end is no RET");
  const reached = new Set([0]);
  instructions.forEach(({ code, jt, jf, k }, at) => {
    if (code === LOAD_ABSOLUTE && (k % 4 !== 0 || k >= DATA_BYTES)) faults.push(`${at} loads ${k}`);
    // All jumps lead forwards, so that whatever reaches an instruction comes before it.
    if (!reached.has(at)) faults.push(`${at} is never reached`);
    if (code === RETURN_CONSTANT) return;
    for (const jump of code in CONDITIONS ? [jt, jf] : [code === JUMP_ALWAYS ? k : 0]) {
      if (at + 1 + jump >= length) faults.push(`${at} leads out of the program`);
      reached.add(at + 1 + jump);
    }
  });
  return faults;
}

const ACTION = 0xffff0000;
const RET_ERRNO = 0x00050000;
const ACTIONS: Readonly<Record<number, string>> = {
  0x80000000: "kill process",
  0x7fc00000: "ask",
  0x7fff0000: "allow",
};
const ERRORS: Readonly<Record<number, string>> = {
  0: "success",
  1: "EPERM",
  22: "EINVAL",
  38: "ENOSYS",
};

/** A program's answer in a word: `allow`, `ask`, `kill process`, or what the call fails with. */
export function describeAnswer(value: number): string {
  const action = (value & ACTION) >>> 0;
  const detail = value & ~ACTION;
  if (action === RET_ERRNO) return ERRORS[detail] ?? `errno ${detail}`;
  return detail === 0 ? ACTIONS[action] ?? `action ${action}` : `action ${value}`;
}
