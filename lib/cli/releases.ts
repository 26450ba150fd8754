import { EXIT } from "../base/exit_code.ts";
import type { Release } from "../protocol/control.ts";
import type { AskingCommand } from "./command.ts";
import { askSupervisor } from "./control_client.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { formatTable } from "./table.ts";
import { printLine } from "./terminal.ts";
import { viewOfOutput } from "./text.ts";
import { formatAge } from "./units.ts";

/** How many names of what has changed a line has. */
const NAMES = 3;

/** Lists the versions that served last; each of them can be brought back. */
export const releases: AskingCommand = async ({ config, json, verify, system }) => {
  const runtime = await findSupervisor(config, system);
  const { releases } = await askSupervisor(runtime, "releases", "releases");
  const faults = verify ? await (await import("./verify_releases.ts")).verifyReleases(runtime) : {};
  if (json) {
    printLine(JSON.stringify(releases.map((each) => ({ ...each, ...faults[each.release] }))));
  } else {
    printLine(format(releases));
    for (const { release, fault } of Object.values(faults)) {
      printLine(`Release ${release}: ${fault ?? "all of it is what was put there"}`);
    }
  }
  return Object.values(faults).some(({ fault }) => fault) ? EXIT.refused : EXIT.ok;
};

function format(list: readonly Release[]): string {
  if (list.length === 0) return "No release is known";
  return formatTable(
    ["RELEASE", "SINCE", "SERVED", "ENDED", "CHANGED"],
    list.map(({ release, at, servedMs, serving, ended, changed, changedCount }) => [
      release,
      at.slice(0, 19).replace("T", " "),
      formatAge(servedMs),
      serving ? "serves" : ended,
      describeChanges(changed, changedCount),
    ]),
    viewOfOutput({ piped: Infinity }).width,
  );
}

function describeChanges(changed: readonly string[], count: number): string {
  const names = changed.slice(0, NAMES).map((url) => url.split("/").pop());
  const more = count - names.length;
  return [...names, ...more > 0 ? [`${more} more`] : []].join(", ");
}
