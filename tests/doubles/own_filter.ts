/** Installs the supervisor's own program, and tells what is left of a call that it leaves out. */
import { setNoNewPrivileges } from "../../lib/os/landlock.ts";
import { waitForAny } from "../../lib/os/poll.ts";
import { answerQuestion, installOnAllThreads, takeQuestion } from "../../lib/os/seccomp.ts";
import { ownProgram } from "../../lib/sandbox/own_filter.ts";
import { type Arch, numberOf } from "../../lib/sandbox/seccomp.ts";

const arch = Deno.build.arch as Arch;
const EPERM = 1;
const ptrace = numberOf("ptrace", arch)!;

// Threads of before, and of after.
await Deno.stat("/");
setNoNewPrivileges();
installOnAllThreads(ownProgram(arch));
installOnAllThreads(ownProgram(arch));
const threads = [...Deno.readDirSync("/proc/self/task")].map(({ name }) =>
  /^Seccomp_filters:\s*(\d+)$/m.exec(Deno.readTextFileSync(`/proc/self/task/${name}/status`))![1]
);

/** A thread with a program that asks about that call, as a worker's. */
const asking = new Worker(
  URL.createObjectURL(
    new Blob([`
      import { errno } from ${JSON.stringify(import.meta.resolve("../../lib/os/errno.ts"))};
      import { installProgram } from ${
      JSON.stringify(import.meta.resolve("../../lib/os/seccomp.ts"))
    };
      const libc = Deno.dlopen("libc.so.6", {
        syscall: { parameters: ["i64", "i64", "i64", "i64", "i64"], result: "i64" },
      });
      // PTRACE_PEEKDATA of process 0, which there is not.
      const call = () => libc.symbols.syscall(${ptrace}n, 2n, 0n, 0n, 0n) === -1n ? errno() : 0;
      call();
      const before = call();
      const [ASK, ALLOW] = [0x7fc00000, 0x7fff0000];
      const fd = installProgram([
        [0x20, 0, 0, 0], [0x15, 0, 1, ${ptrace}], [0x06, 0, 0, ASK], [0x06, 0, 0, ALLOW],
      ]);
      postMessage({ before, fd });
      postMessage({ after: call() });
    `], { type: "text/javascript" }),
  ),
  { type: "module" },
);
const messages = new ReadableStream<Record<string, number>>({
  start: (controller) => void (asking.onmessage = ({ data }) => controller.enqueue(data)),
}).getReader();
const { before, fd } = (await messages.read()).value!;
let question: ReturnType<typeof takeQuestion>;
while (question === undefined) {
  if ((await waitForAny([fd!], 500)).length > 0) question = takeQuestion(fd!);
}
if (question === "closed") throw new Error("No question came");
answerQuestion(fd!, question.id, -EPERM);
const { after } = (await messages.read()).value!;
asking.terminate();
// deno-lint-ignore no-console
console.log(JSON.stringify({ threads, before, asked: question.number === ptrace, after }));
Deno.exit();
