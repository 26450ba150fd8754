/** A worker's program in an executable; the build puts the app in the place of `holdfast:app`. */
import { prepareRuntime } from "../child/app_runtime.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { runWorker } from "../worker/run.ts";
import type { NativeContext } from "./enter.ts";
import { nativeJudge } from "./narrow.ts";

/** Runs it. */
export async function run({ union, kept }: NativeContext): Promise<void> {
  await runWorker({
    version: PROTOCOL_VERSION,
    prepare: prepareRuntime,
    judge: nativeJudge(union, kept),
    load: () => import("holdfast:app"),
  });
}
