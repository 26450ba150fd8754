/**
 * The seccomp programs, proven: an interpreter runs each over every call number, for both architectures,
 * every policy, and arguments that make a difference. kernel_wall_test.ts makes the calls in a worker.
 */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { ANY_CALLS, type AnyCall, anyNumberOf } from "../lib/sandbox/absent_calls.ts";
import type { SeccompPolicy } from "../lib/sandbox/seccomp.ts";
import { OF_THE_START } from "../lib/child/later_program.ts";
import { ARCHES, CODE_POLICIES, groupOf, makeAsker, POLICIES } from "../tools/filter_table.ts";
import { AUDIT_ARCH } from "./harness/bpf.ts";
import { REPOSITORY } from "./harness/project.ts";

/** Beyond every number that a kernel has. */
const NUMBERS = Array.from({ length: 601 }, (_, number) => number);

/** What a judged call may be answered, by its arguments; the first one where the policy decides. */
function answersTo(
  call: AnyCall,
  { network, unix, listens, lends, runs }: SeccompPolicy,
): string[] {
  switch (call) {
    case "execve":
    case "execveat":
      return ["ask"];
    case "clone":
      return ["allow", "ask"];
    case "vfork":
      return [runs ? "allow" : "ask"];
    case "mmap":
    case "mprotect":
    case "pkey_mprotect":
      return ["allow"];
    case "fork":
      return [runs ? "EPERM" : "ask"];
    case "kill":
      return runs ? ["EPERM"] : ["EPERM", "ask"];
    case "clone3":
    case "openat2":
      return ["ENOSYS"];
    case "socket":
      return network === "none" && !unix && !lends ? ["EPERM"] : ["EPERM", "allow"];
    case "sendto":
      return ["EPERM", "allow", ...network === "names" && !runs ? ["ask"] : []];
    case "sendmsg":
    case "sendmmsg":
      return network === "names" && !runs ? ["EPERM"] : ["EPERM", "allow"];
    case "connect":
      return network === "none" && !unix ? ["EPERM"] : [runs ? "allow" : "ask"];
    case "bind":
      if (lends) return ["success"];
      return network !== "names" ? ["EPERM"] : [runs ? "allow" : "ask"];
    case "listen":
      return [lends ? "ask" : listens ? "success" : "EPERM"];
    case "fchmod":
      return [runs ? "allow" : "success"];
    case "sched_getaffinity":
    case "sched_getattr":
      return ["ENOSYS", "allow"];
    case "sched_getparam":
    case "sched_getscheduler":
      return ["allow", "success"];
    case "clock_gettime":
    case "clock_getres":
    case "clock_nanosleep":
      return ["EINVAL", "allow"];
    default:
      return ["EPERM", "allow"];
  }
}

const OF_RUNNING: readonly AnyCall[] = ["chmod", "fchmodat", "fchmodat2", "utimensat"];

function expectedAnswers(call: AnyCall | undefined, policy: SeccompPolicy): string[] {
  switch (call && groupOf(call)) {
    case "allowed":
      return ["allow"];
    case "refused":
      return [policy.runs && OF_RUNNING.includes(call!) ? "allow" : "EPERM"];
    case "alarm":
      return ["ask"];
    case "judged":
      return answersTo(call!, policy);
    default:
      return ["ENOSYS"];
  }
}

function answersOf(ask: ReturnType<typeof makeAsker>, numbers: readonly number[]): string {
  return [...new Set(numbers.flatMap((number) => ask(number)))].join(", ");
}

for (const arch of ARCHES) {
  Deno.test(`every number on ${arch} is answered as its group says, under every policy`, () => {
    const byNumber = new Map(
      ANY_CALLS.flatMap((call) => {
        const number = anyNumberOf(call, arch);
        return number === undefined ? [] : [[number, call] as const];
      }),
    );
    for (const policy of POLICIES) {
      const ask = makeAsker(arch, policy);
      const answersBy = (answers: (call: AnyCall | undefined, number: number) => string[]) =>
        NUMBERS.map((number) => {
          const call = byNumber.get(number);
          return `${number} ${call}: ${answers(call, number)}`;
        });
      assertEquals(
        answersBy((call, number) => ask(number, call)),
        answersBy((call) => expectedAnswers(call, policy)),
        JSON.stringify(policy),
      );
    }
  });

  Deno.test(`on ${arch} the later program takes away what a start needs and what becomes code, and no question`, () => {
    for (const policy of POLICIES.filter(({ runs }) => !runs)) {
      const before = makeAsker(arch, policy);
      for (const code of CODE_POLICIES) {
        const ask = makeAsker(arch, policy, AUDIT_ARCH[arch], code);
        for (const call of ANY_CALLS) {
          const number = anyNumberOf(call, arch);
          if (number === undefined) continue;
          const { compiled, libraries } = code;
          const [was, is] = [before(number, call), ask(number, call)];
          const said = `${call} ${JSON.stringify({ ...policy, ...code })}`;
          if (OF_THE_START.some((each) => each === call)) {
            assertEquals(is, ["EPERM"], said);
          } else if (call === "mmap") {
            assertEquals(is, compiled && libraries ? ["allow"] : ["EPERM", "allow"], said);
          } else if (call.endsWith("mprotect")) {
            assertEquals(is, compiled ? ["allow"] : ["EPERM", "allow"], said);
          } else assertEquals(is, was, said);
        }
      }
    }
  });

  Deno.test(`on ${arch} every call of another architecture or of x32 ends the process`, () => {
    const foreign = Object.values(AUDIT_ARCH).filter((audited) => audited !== AUDIT_ARCH[arch]);
    for (const policy of POLICIES) {
      for (const audited of [...foreign, 0, 0xffffffff]) {
        const ask = makeAsker(arch, policy, audited);
        assertEquals(answersOf(ask, NUMBERS), "kill process");
      }
      const ask = makeAsker(arch, policy);
      const beyond = [...NUMBERS.map((number) => 0x40000000 + number), 0x7fffffff, 0xffffffff];
      assertEquals(answersOf(ask, beyond), arch === "x86_64" ? "kill process" : "ENOSYS");
      assertEquals(answersOf(ask, [1_000, 0x3fffffff]), "ENOSYS");
    }
  });
}

Deno.test("the table of calls in docs/wall.md is what the programs answer", async () => {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(REPOSITORY, "tools/write_filter_table.ts"), "--check"],
    cwd: REPOSITORY,
  }).output();
  assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
});
