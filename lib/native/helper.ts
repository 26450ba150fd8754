/** A helper's program in an executable; the build puts its module in the place of `holdfast:app`. */
import { prepareRuntime } from "../child/app_runtime.ts";
import { runHelper } from "../helper/run.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import type { NativeContext } from "./enter.ts";
import { nativeJudge } from "./narrow.ts";

/** Runs it. */
export async function run({ union, kept }: NativeContext): Promise<void> {
  await runHelper({
    version: PROTOCOL_VERSION,
    prepare: prepareRuntime,
    judge: nativeJudge(union, kept),
    load: () => import("holdfast:app"),
  });
}
