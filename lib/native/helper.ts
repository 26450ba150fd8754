/** A helper's program in an executable. */
import { prepareRuntime } from "../child/app_runtime.ts";
import { runHelper } from "../helper/run.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import type { NativeContext } from "./enter.ts";
import { nativeJudge } from "./narrow.ts";
import { loadApp, takeOwnImage } from "./own_image.ts";

/** Runs it. */
export async function run(context: NativeContext): Promise<void> {
  const { role, union, kept } = context;
  takeOwnImage(context, role);
  await runHelper({
    version: PROTOCOL_VERSION,
    prepare: prepareRuntime,
    judge: nativeJudge(union, kept),
    load: loadApp,
  });
}
