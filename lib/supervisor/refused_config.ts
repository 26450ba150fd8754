/** Says what is wrong with a config before there can be a planner. */
import { HoldfastError } from "../base/error.ts";
import type { ConfigText } from "../config/runtime_place.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { Failure } from "../protocol/plan.ts";
import { findDenoDir } from "./image_store.ts";
import { isWalled } from "./read_config.ts";
import { asError } from "./run_planner.ts";
import { runOwn } from "./run_own.ts";

/**
 * Why a config is refused in which no runtime folder can be found: without that there is no lock, and no
 * place for a planner. A process that may only read says it.
 */
export async function refusedConfig(read: ConfigText, signal: AbortSignal): Promise<HoldfastError> {
  const entry = `${HOLDFAST_FOLDER}/lib/planner/refuse_config.ts`;
  const flags = ["--quiet", "--no-prompt", "--cached-only", "--no-code-cache", "--allow-read"];
  const text = await runOwn({
    args: ["run", ...flags, "--allow-sys=uid", "--deny-net", entry, read.named],
    denoDir: findDenoDir(),
    may: isWalled(read) ? { network: "none", writes: [] } : undefined,
    signal,
  });
  if (text !== "") return asError(Failure.parse(JSON.parse(text)));
  return new HoldfastError(`${read.named} was changed while it was read`, {
    kind: "config",
    code: "config_changed",
    hint: "Start again",
  });
}
