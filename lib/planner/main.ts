/**
 * The planner's program. It parses and checks a config, reads its project and the caches of Deno, writes
 * the image of a generation and its answer into the folder that it was given, and ends. It says nothing
 * else to anybody.
 */
import { join } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import { takeProgramData } from "../child/program_data.ts";
import type { Config } from "../config/config.ts";
import type { RenamedKey } from "../config/parse.ts";
import { resolveText } from "../config/resolve.ts";
import { type Answer, ANSWER_FILE, isFull, NO_ROOM, PLAN_KEY } from "../protocol/plan.ts";
import { ownAccounts } from "../sandbox/accounts.ts";
import { judgePaths } from "./judge_paths.ts";
import { makeImage } from "./make_image.ts";
import { findVariables, isMissing } from "./missing.ts";
import type { PlanRequest } from "./request.ts";

const request = takeProgramData(PLAN_KEY) as PlanRequest;

async function answer(): Promise<Answer> {
  let config: Config | undefined;
  const renamed: RenamedKey[] = [];
  try {
    const { planning, facts, images: code, separates } = request;
    config = "config" in planning
      ? planning.config
      : await resolveText({ ...planning.text, warn: (key) => renamed.push(key) });
    const judgement = judgePaths(config, separates ? ownAccounts(config) : undefined, {
      ...{ isRoot: Deno.uid() === 0, code, program: facts.denoProgram },
    });
    return { config, renamed, ...await makeImage({ ...request, config }), judgement };
  } catch (error) {
    const { message, hint, kind, code } = toHoldfastError(error);
    if (config !== undefined && request.network === "none" && isMissing(message)) {
      return { missing: message, variables: findVariables(config) };
    }
    return { error: { message, kind, code, ...hint !== undefined && { hint } } };
  }
}

try {
  await Deno.writeTextFile(join(request.staging, ANSWER_FILE), JSON.stringify(await answer()));
} catch (error) {
  if (isFull((error as Error).message)) Deno.exit(NO_ROOM);
  throw error;
}
