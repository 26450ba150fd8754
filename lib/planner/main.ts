/**
 * The planner's program. It reads a project and the caches of Deno, writes the image of a generation
 * and its answer into the folder that it was given, and ends. It says nothing else to anybody.
 */
import { join } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import { takeProgramData } from "../child/program_data.ts";
import { type Answer, ANSWER_FILE, isFull, NO_ROOM, PLAN_KEY } from "../protocol/plan.ts";
import { judgePaths } from "./judge_paths.ts";
import { type ImageRequest, makeImage } from "./make_image.ts";
import { findVariables, isMissing } from "./missing.ts";

const request = takeProgramData(PLAN_KEY) as ImageRequest;

async function answer(): Promise<Answer> {
  try {
    const { config, facts } = request;
    const judgement = judgePaths(config, request.accounts, {
      ...{ isRoot: Deno.uid() === 0, code: request.images, program: facts.denoProgram },
    });
    return { plan: await makeImage(request), judgement };
  } catch (error) {
    const { message, hint, kind, code } = toHoldfastError(error);
    if (request.network === "none" && isMissing(message)) {
      return { missing: message, variables: findVariables(request.config) };
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
