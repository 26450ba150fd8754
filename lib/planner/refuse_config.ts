/**
 * Says why a config is refused, as a {@link Failure}, and nothing of one that is not:
 * `refuse_config.ts FILE`.
 */
import { toHoldfastError } from "../base/error.ts";
import { configureLog } from "../base/log.ts";
import { loadConfig } from "../config/load.ts";
import type { Failure } from "../protocol/plan.ts";
import { printAnswer } from "./print_answer.ts";

configureLog("none");
try {
  await loadConfig(Deno.args[0]!);
} catch (error) {
  const { message, hint, kind, code } = toHoldfastError(error);
  const failure: Failure = { message, kind, code, ...hint !== undefined && { hint } };
  printAnswer(JSON.stringify(failure));
}
