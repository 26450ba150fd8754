/**
 * Waits for what the kernel asks of all guards at once: each wait holds one of the threads that the
 * runtime has for blocking calls, and file operations wait for these too.
 */
import { WakeUp } from "../os/descriptor.ts";
import { closeQuestions, type Question, takeQuestion, waitForAny } from "../os/seccomp.ts";
import { attempt } from "./attempt.ts";

/** How long one wait lasts at the most; a process that is ended otherwise is kept by it so long. */
const WAIT_MS = 500;

const receivers = new Map<number, (question: Question) => void>();
const unwanted: number[] = [];
let wakeUp: WakeUp | undefined;
let waiting = false;

/**
 * Gives each question that comes by a descriptor to `receive`.
 *
 * @param fd is closed when nobody is left who could ask, or by {@link ignoreQuestions}
 */
export function receiveQuestions(fd: number, receive: (question: Question) => void): void {
  receivers.set(fd, receive);
  wakeUp ??= new WakeUp();
  wakeUp.give();
  if (!waiting) void wait(wakeUp);
}

/** Ends it: every further question is answered by the kernel, with ENOSYS. */
export function ignoreQuestions(fd: number): void {
  if (!receivers.delete(fd)) return;
  // Not closed here: it may be waited for, and its number may be another's at once.
  unwanted.push(fd);
  wakeUp?.give();
}

async function wait(wakeUp: WakeUp): Promise<void> {
  waiting = true;
  while (receivers.size > 0) {
    const ready = await waitForAny([wakeUp.fd, ...receivers.keys()], WAIT_MS);
    wakeUp.take();
    for (const { fd, ended } of ready) {
      // One may be ignored since, by what was made of the question before it.
      const receive = receivers.get(fd);
      if (receive === undefined) continue;
      const question = ended ? "closed" : takeQuestion(fd);
      if (question === "closed") ignoreQuestions(fd);
      else if (question !== undefined) {
        // What goes wrong for one worker is not to leave the others without an answer.
        attempt("answer a question of the kernel", () => receive(question));
      }
    }
    unwanted.splice(0).forEach(closeQuestions);
  }
  waiting = false;
}
