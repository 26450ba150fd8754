/** The program of the metrics process in an executable. */
import { runLife } from "../child/life.ts";
import { installImage } from "../child/module_image.ts";
import { createMetricsServer } from "../metrics/run.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import type { NativeContext } from "./enter.ts";
import { nativeJudge } from "./narrow.ts";

/** Runs it. */
export async function run({ union, kept }: NativeContext): Promise<void> {
  installImage();
  await runLife({
    version: PROTOCOL_VERSION,
    judge: nativeJudge(union, kept),
    equip: createMetricsServer,
  });
}
