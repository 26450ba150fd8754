/**
 * A helper's program. The supervisor bundles this file, puts the helper's module in the place of
 * `holdfast:app` and hands the text to a narrowed `deno run` on its standard input.
 */
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { runHelper } from "./run.ts";

await runHelper({ version: PROTOCOL_VERSION, load: () => import("holdfast:app") });
