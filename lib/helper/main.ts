/**
 * A helper's program. The supervisor hands the bundled text of this file, with the image of the
 * helper's modules before it, to a narrowed `deno run` on its standard input.
 */
import { prepareRuntime } from "../child/app_runtime.ts";
import { installImage } from "../child/module_image.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { runHelper } from "./run.ts";

installImage();
await runHelper({
  version: PROTOCOL_VERSION,
  prepare: prepareRuntime,
  load: () => import("holdfast:app"),
});
