/** `holdfast start` on a kernel with the Landlock ABI that the first argument names. */
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";
import { runAsCommand } from "./command.ts";

const [abi, file] = Deno.args;

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(file!, { ...realSystem, landlockAbi: () => Number(abi) });
  } finally {
    await flushLog();
  }
});
