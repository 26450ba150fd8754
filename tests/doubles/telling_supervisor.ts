/** `holdfast start` that logs, whenever it loads the config, which permissions it has. */
import { configureLog, flushLog, log } from "../../lib/base/log.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";
import { runAsCommand } from "./command.ts";

const ASKED: readonly Deno.PermissionDescriptor[] = [
  ...[{ name: "read" }, { name: "net" }, { name: "env" }, { name: "ffi" }] as const,
  { name: "sys", kind: "uid" },
];

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(Deno.args[0]!, {
      ...realSystem,
      readConfig(file) {
        const granted = ASKED.filter((asked) =>
          Deno.permissions.querySync(asked).state === "granted"
        );
        log.info("permissions", { granted: granted.map(({ name }) => name) });
        return realSystem.readConfig(file);
      },
    });
  } finally {
    await flushLog();
  }
});
