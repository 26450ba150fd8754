/** Programs that the app starts: Node's functions fail in several ways, Deno's as if there were no program. */
import childProcess from "node:child_process";
import cluster from "node:cluster";
import { withDeepStack } from "./frames.ts";
import type { Refusals } from "./refusals.ts";
import { callExplained, explainEvents, type Method, replace } from "./replace.ts";

/** Functions whose first argument is a program that they start. */
const STARTERS = [
  ...["exec", "execFile", "execFileSync", "execSync", "fork", "spawn", "spawnSync"],
] as const;

/** The names in a module of Node's that are replaced. */
export const REPLACED_STARTERS = { child_process: [...STARTERS], cluster: ["fork"] } as const;

/** Explains them. */
export function explainStarts(refusals: Refusals): void {
  // One function calls another one.
  let depth = 0;
  const wrap = (holder: object, name: string) => {
    const original = (holder as Record<string, Method>)[name]!;
    const wrapped: Method = function (...all) {
      if (depth > 0) return Reflect.apply(original, this, all);
      const what = holder === cluster ? "a process of node:cluster" : String(all[0]);
      const refused = { kind: "run", what } as const;
      refusals.tell(refused, withDeepStack(new Error(), wrapped).stack);
      const explain = (error: unknown) => {
        if (error instanceof Error) {
          refusals.quietly(() => refusals.explain(error, refused, undefined));
        }
        return error;
      };
      depth++;
      try {
        const call = () => callExplained(original, this, all, explain);
        const result = refusals.quietly(call) as { error?: unknown; emit?: unknown } | undefined;
        if (result?.error) explain(result.error);
        return typeof result?.emit === "function"
          ? explainEvents(result as never, explain)
          : result;
      } finally {
        depth--;
      }
    };
    replace(holder, name, wrapped);
  };
  for (const name of STARTERS) wrap(childProcess, name);
  wrap(cluster, "fork");
  const { prototype } = Deno.Command;
  for (const name of ["spawn", "output", "outputSync"]) {
    const original = (prototype as unknown as Record<string, Method>)[name]!;
    const wrapped: Method = function (...all) {
      return callExplained(original, this, all, (error) => {
        const [, program] = /^Failed to spawn '(.*?)'/.exec((error as Error)?.message) ?? [];
        if (program === undefined) return error;
        const { stack } = withDeepStack(new Error());
        refusals.explain(error as Error, { kind: "run", what: program }, stack);
        return error;
      });
    };
    replace(prototype, name, wrapped);
  }
}
