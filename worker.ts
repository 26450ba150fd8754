/**
 * The worker: speaks HTTP and runs the app, and may do nothing else. The supervisor hands the bundled
 * text of this file to a narrowed `deno run` on its standard input, and behind it, when that runs, the
 * image of the app's modules.
 */
import { PROTOCOL_VERSION } from "./lib/protocol/version.ts";
import { prepareRuntime } from "./lib/child/app_runtime.ts";
import { installImage } from "./lib/child/module_image.ts";
import { runWorker } from "./lib/worker/run.ts";

// Not awaited: the runtime tells when nothing goes on only after its first module has ended.
void runWorker({
  version: PROTOCOL_VERSION,
  prepare: (configure) => {
    installImage();
    return prepareRuntime(configure);
  },
  load: () => import("holdfast:app"),
});
