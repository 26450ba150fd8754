/** Plans what the processes of a generation run; it says nothing else to anybody. */
import { join } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import { takeProgramData } from "../child/program_data.ts";
import { type Answer, ANSWER_FILE, isFull, NO_ROOM, PLAN_KEY } from "../protocol/plan.ts";
import { closedPaths } from "./closed_paths.ts";
import { type ImageRequest, makeImage } from "./make_image.ts";
import { findVariables, isMissing } from "./missing.ts";
import { takeImage } from "./packed_image.ts";
import type { PackedImage } from "../protocol/packed_image.ts";

/** What it is asked for: the image of a project, or one that an executable brings. */
type Request = ImageRequest & { readonly packed?: PackedImage };

async function answerTo(request: Request): Promise<Answer> {
  try {
    const { config, facts } = request;
    const closed = Deno.uid() === 0 ? closedPaths(config, facts.runtime ?? config.runtime) : [];
    const { packed } = request;
    const plan = await (packed ? takeImage(request, packed) : makeImage(request));
    return { plan, closed };
  } catch (error) {
    const { message, hint, kind, code } = toHoldfastError(error);
    if (request.network === "none" && isMissing(message)) {
      return { missing: message, variables: findVariables(request.config) };
    }
    return { error: { message, kind, code, ...hint !== undefined && { hint } } };
  }
}

/**
 * Answers what the program was started with.
 *
 * @param own where the image lies, of a program that has it in itself
 */
export async function runPlan(own?: string): Promise<void> {
  const { packed, ...rest } = takeProgramData(PLAN_KEY) as Request;
  const placed = packed && own !== undefined ? { ...packed, folder: own } : packed;
  const request = { ...rest, ...placed && { packed: placed } };
  try {
    const text = JSON.stringify(await answerTo(request));
    await Deno.writeTextFile(join(request.staging, ANSWER_FILE), text);
  } catch (error) {
    if (isFull((error as Error).message)) Deno.exit(NO_ROOM);
    throw error;
  }
}
