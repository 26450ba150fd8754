import { EXIT } from "../base/exit_code.ts";
import { landlockAbi } from "../os/landlock.ts";
import { appFile } from "./app_file.ts";
import type { CliCommand } from "./command.ts";
import { formatGrants } from "./grants_text.ts";
import { describeAccount, judgeNow } from "./judged_accounts.ts";
import { loadConfig } from "./load_config.ts";
import { printLine } from "./terminal.ts";
import { viewOfOutput } from "./text.ts";

/** Prints what each process may do. The short answer is in the config alone, and takes no planner. */
export const explain: CliCommand = async ({ config: file, app, json, all, wide, ...more }) => {
  const { system } = app === undefined ? more : appFile(app, { ...more, config: file });
  const config = await loadConfig(file, system);
  if (json || all) {
    const { explainAll } = await import("./explain_all.ts");
    printLine(await explainAll(config, { json, wide, system }));
    return EXIT.ok;
  }
  const judgement = judgeNow(config, {});
  printLine(formatGrants(config, {
    view: viewOfOutput({ wide }),
    abi: landlockAbi(),
    accountOf: (who) => describeAccount(config, judgement, who),
  }));
  return EXIT.ok;
};
