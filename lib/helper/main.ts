/**
 * A helper's program. The supervisor hands the bundled text of this file to a narrowed `deno run` on its
 * standard input, and behind it, when that runs, the image of the helper's modules.
 */
import { prepareRuntime } from "../child/app_runtime.ts";
import { installImage } from "../child/module_image.ts";
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { runHelper } from "./run.ts";

await runHelper({
  version: PROTOCOL_VERSION,
  prepare: (configure) => {
    installImage();
    return prepareRuntime(configure);
  },
  load: () => import("holdfast:app"),
});
