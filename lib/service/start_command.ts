/** How a service manager starts Holdfast: with deno itself, which is the same with every Node. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";

/** What to do about a path that no flag can name. */
export const NAME_HINT = "Rename the folder: Deno takes a comma for the end of a path";

/**
 * The flags of the supervisor.
 *
 * @param writes the runtime folder, and the Unix sockets that it binds
 * @throws {HoldfastError} for a path that no flag can name
 */
export function supervisorFlags(writes: readonly string[], deno: string): string[] {
  const unnameable = [...writes, deno].find((path) => /[,\n]/.test(path));
  if (unnameable !== undefined) {
    throw new HoldfastError(
      `${JSON.stringify(unnameable)} has a comma or a line end in its name`,
      { kind: "environment", code: "path_unfit", hint: NAME_HINT },
    );
  }
  return [
    ...["--allow-read", `--allow-write=${writes.join(",")}`, "--allow-net", `--allow-run=${deno}`],
    ...["--allow-env", "--allow-ffi", "--allow-sys=uid"],
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
  /** Paths of Unix sockets that it binds by itself. */
  readonly sockets: readonly string[];
  readonly config: string;
}

/**
 * A command line of Holdfast, with no more rights than the supervisor needs.
 *
 * @throws {HoldfastError} if this Holdfast is part of an executable
 */
export function commandLine(
  { deno, holdfast, runtime, sockets, config }: Installed,
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
    ...[
      deno,
      "run",
      "--no-prompt",
      ...isSource ? [] : PACKAGE_FLAGS,
      ...supervisorFlags([runtime, ...sockets], deno),
    ],
    ...[isSource ? source! : packed!, ...command, "--config", config],
  ];
}
