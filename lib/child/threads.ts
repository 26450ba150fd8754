/** Web Workers and threads: what is refused in them and not caught is told by the thread that started them. */
import threads from "node:worker_threads";
import { requiredIn } from "../base/refusal_kinds.ts";
import { withDeepStack } from "./frames.ts";
import type { Refusals } from "./refusals.ts";
import { explainEvents } from "./replace.ts";

/** Explains them. */
export function explainThreads(refusals: Refusals): void {
  const explain = (error: Error | ErrorEvent, stack: string | undefined) => {
    const required = requiredIn(error.message);
    if (required === undefined) return;
    if (error instanceof Error) refusals.explain(error, required, stack);
    else refusals.tell(required, stack);
  };
  const globals = globalThis as unknown as { Worker: typeof Worker };
  globals.Worker = new Proxy(globals.Worker, {
    construct(target, all, newTarget) {
      const { stack } = withDeepStack(new Error());
      const worker = Reflect.construct(target, all, newTarget);
      worker.addEventListener("error", (event: ErrorEvent) => explain(event, stack));
      return worker;
    },
  });
  threads.Worker = new Proxy(threads.Worker, {
    construct(target, all, newTarget) {
      const { stack } = withDeepStack(new Error());
      return explainEvents(Reflect.construct(target, all, newTarget), (error) => {
        if (error instanceof Error) explain(error, stack);
        return error;
      });
    },
  });
}
