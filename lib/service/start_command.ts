/** How a service manager starts Holdfast: with deno itself, which is the same with every Node. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";

/** The flags of the supervisor; a comma ends a path in them, unless it is doubled. */
export function supervisorFlags(runtime: string, deno: string): string[] {
  const [write, run] = [runtime, deno].map((path) => path.replaceAll(",", ",,"));
  return [
    ...["--no-prompt", "--allow-read", `--allow-write=${write}`, "--allow-net"],
    ...[`--allow-run=${run}`, "--allow-env", "--allow-ffi", "--allow-sys=uid"],
  ];
}

/** In the npm package all is bundled: no settings, registry or cache of the app's has a part in it. */
export const PACKAGE_FLAGS = [
  ...["--quiet", "--no-config", "--no-lock", "--no-npm", "--no-remote", "--no-code-cache"],
];

/** The entry of the npm package, in its folder. */
export const PACKAGE_MAIN = "lib/supervisor/main.js";

/** What a command line is made of. */
export interface Installed {
  readonly deno: string;
  /** Holdfast's own folder: of the sources, or of the npm package. */
  readonly holdfast: string;
  readonly runtime: string;
  readonly config: string;
}

/**
 * A command line of Holdfast, with no more rights than the supervisor needs.
 *
 * @throws {HoldfastError} if this Holdfast is part of an executable
 */
export function commandLine(
  { deno, holdfast, runtime, config }: Installed,
  ...command: string[]
): string[] {
  const [source, packed] = ["main.ts", PACKAGE_MAIN].map((name) => join(holdfast, name));
  const isSource = existsSync(source!);
  if (!isSource && !existsSync(packed!)) {
    throw new HoldfastError("This Holdfast is part of an executable, whose service is another", {
      kind: "usage",
      code: "service_executable",
      hint: "See deploy/systemd/guestbook.service, which is for an executable",
    });
  }
  return [
    ...[deno, "run", ...isSource ? [] : PACKAGE_FLAGS, ...supervisorFlags(runtime, deno)],
    ...[isSource ? source! : packed!, ...command, "--config", config],
  ];
}
