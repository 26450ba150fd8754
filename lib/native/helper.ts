/** A helper's program in an executable. */
import { runHelper } from "../helper/run.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import type { NativeContext } from "./enter.ts";
import { nativeJudge } from "./narrow.ts";
import { loadApp, takeOwnImage } from "./own_image.ts";

/** Runs it. */
export async function run(context: NativeContext): Promise<void> {
  const { role, union, kept } = context;
  await takeOwnImage(context, role);
  await runHelper({ version: PROTOCOL_VERSION, judge: nativeJudge(union, kept), load: loadApp });
}
