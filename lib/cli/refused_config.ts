/** Says what is wrong with a config before there can be a planner. */
import { HoldfastError } from "../base/error.ts";
import { exists } from "../config/check_system.ts";
import { readConfigText } from "../config/runtime_place.ts";
import { prebuiltPath } from "../planner/prebuilt.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { Failure } from "../protocol/plan.ts";
import { findDenoDir } from "../supervisor/image_store.ts";
import { isWalled } from "../supervisor/read_config.ts";
import { asError } from "../supervisor/run_planner.ts";
import { runOwn } from "../supervisor/run_own.ts";

const REFUSE = "lib/planner/refuse_config.ts";

/**
 * Why a config is refused in which no runtime folder can be found: without that there is no lock, and no
 * place for a planner. A process that may only read says it.
 */
export async function refusedConfig(file: string): Promise<HoldfastError> {
  const source = `${HOLDFAST_FOLDER}/${REFUSE}`;
  // Of an npm package it was bundled beforehand.
  const entry = [prebuiltPath(HOLDFAST_FOLDER, REFUSE)].find(exists) ?? source;
  const flags = ["--quiet", "--no-prompt", "--cached-only", "--no-code-cache", "--allow-read"];
  const text = await runOwn({
    args: ["run", ...flags, "--allow-sys=uid", "--deny-net", entry, file],
    denoDir: findDenoDir(),
    may: isWalled(await readConfigText(file)) ? { network: "none", writes: [] } : undefined,
    signal: new AbortController().signal,
  });
  if (text !== "") return asError(Failure.parse(JSON.parse(text)));
  return new HoldfastError(`${file} was changed while it was read`, {
    kind: "config",
    code: "config_changed",
    hint: "Start again",
  });
}
