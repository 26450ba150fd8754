/** Plans what a config means and what its processes run; it says nothing else to anybody. */
import { join } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import type { RenamedKey } from "../config/parse.ts";
import { resolveText } from "../config/resolve.ts";
import { type Answer, ANSWER_FILE, isFull, NO_ROOM, REQUEST_FILE } from "../protocol/plan.ts";
import { ownAccounts } from "../sandbox/accounts.ts";
import { judgeWidening } from "./judge_widening.ts";
import { judgePaths } from "./judge_paths.ts";
import { makeImage } from "./make_image.ts";
import { judgeKept } from "./judge_kept.ts";
import { findVariables, isMissing } from "./missing.ts";
import { takeImage } from "./packed_image.ts";
import type { PlanRequest } from "./request.ts";

async function answerTo(request: PlanRequest): Promise<Answer> {
  let config: Config | undefined;
  const renamed: RenamedKey[] = [];
  try {
    const { planning, facts, packed, images: code, separates } = request;
    config = "config" in planning
      ? planning.config
      : await resolveText({ ...planning.text, warn: (key) => renamed.push(key) });
    const judgement = judgePaths(config, separates ? ownAccounts(config) : undefined, {
      ...{ isRoot: Deno.uid() === 0, code, program: facts.denoProgram },
    });
    const own = { ...request, config };
    const kept = "kept" in planning ? planning.kept : undefined;
    const widened = kept ? [] : judgeWidening(config, code, request.mayWiden);
    const { plan, warnings } = kept
      ? await judgeKept(own, kept)
      : await (packed ? takeImage(own, packed) : makeImage(own));
    return { config, renamed, plan, warnings: [...warnings, ...widened], judgement };
  } catch (error) {
    const { message, hint, kind, code } = toHoldfastError(error);
    if (config !== undefined && request.network === "none" && isMissing(message)) {
      return { missing: message, variables: findVariables(config) };
    }
    return { error: { message, kind, code, ...hint !== undefined && { hint } } };
  }
}

/**
 * Answers what lies in the folder that is the program's argument, and ends the process: nothing that is
 * under way still is of use.
 *
 * @param own where the image lies, of a program that has it in itself
 */
export async function runPlan(own?: string): Promise<void> {
  const asked = await Deno.readTextFile(join(Deno.args.at(-1)!, REQUEST_FILE));
  const { packed, ...rest }: PlanRequest = JSON.parse(asked);
  const placed = packed && own !== undefined ? { ...packed, folder: own } : packed;
  const request: PlanRequest = { ...rest, ...placed && { packed: placed } };
  try {
    const text = JSON.stringify(await answerTo(request));
    await Deno.writeTextFile(join(request.staging, ANSWER_FILE), text);
  } catch (error) {
    if (isFull((error as Error).message)) Deno.exit(NO_ROOM);
    throw error;
  }
  Deno.exit(0);
}
