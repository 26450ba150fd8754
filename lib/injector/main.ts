/**
 * The worker of `holdfast dev`: that of worker.ts, whose pages hear of reloads. No other command starts it.
 */
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { DEVELOPMENT_KEY, type DevelopmentPage } from "../protocol/development.ts";
import { prepareRuntime } from "../child/app_runtime.ts";
import { installImage } from "../child/module_image.ts";
import { takeProgramData } from "../child/program_data.ts";
import { runWorker } from "../worker/run.ts";
import { injectInto } from "./inject.ts";

const page = takeProgramData(DEVELOPMENT_KEY) as DevelopmentPage;

// Not awaited, as in worker.ts.
void runWorker({
  version: PROTOCOL_VERSION,
  prepare: (configure) => {
    installImage();
    return prepareRuntime(configure);
  },
  load: () => import("holdfast:app"),
  answerBy: (handler) => injectInto(handler, page),
});
