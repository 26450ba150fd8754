/** The command `dev`: serves a project while it is written. */
import { dirname } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { realPlace } from "../config/real_place.ts";
import type { ConfigText } from "../config/runtime_place.ts";
import { appFile, withoutConfig } from "../cli/app_file.ts";
import type { CliCommand, DevelopmentChoices } from "../cli/command.ts";
import { imagesIn, isFolder } from "../supervisor/image_store.ts";
import { Development } from "./development.ts";
import { type DevelopmentFolder, openFolder } from "./folder.ts";
import { Inspector, INSPECTOR_ADDRESS, inspectorAddress } from "./inspector.ts";
import { type Opening, openPage, opensByItself } from "./open_page.ts";
import { pagePort, PageServer } from "./page_server.ts";
import { freePortFrom, wantedPort } from "./port.ts";
import { isPrebuilt, workerProgram } from "./program.ts";
import { watchedOf } from "./project.ts";
import { painter, Terminal } from "./terminal.ts";

const STOPS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Serves, watches, and ends by Ctrl-C. */
export const dev: CliCommand = async (options) => {
  const { config, app, system, development = {} } = options;
  if (development.supervised) {
    return await (await import("./supervise.ts")).superviseDevelopment(options);
  }
  const choices = readChoices(development);
  const served = app === undefined ? system : appFile(app, { config, system }).system;
  const read = async () => {
    const text = await served.readConfig(config).catch((error) => {
      throw withoutConfig(error, config);
    });
    return text as ConfigText;
  };
  const first = await read();
  const folder = await openFolder(config);
  try {
    await serve({ config, app, choices, first, read, folder });
  } finally {
    folder.close();
  }
  return EXIT.ok;
};

interface Serving {
  readonly config: string;
  readonly app: string | undefined;
  readonly choices: Choices;
  readonly first: ConfigText;
  readonly read: () => Promise<ConfigText>;
  readonly folder: DevelopmentFolder;
}

async function serve({ config, app, choices, first, read, folder }: Serving): Promise<void> {
  const wall = chooseWall(choices, first.raw.wall);
  const port = freePortFrom(wantedPort(first.raw.listen, Deno.env.get("PORT")));
  const url = `http://127.0.0.1:${port}/`;
  const isTerminal = Deno.stdout.isTerminal();
  const project = dirname(realPlace(config));
  const terminal = new Terminal({
    folder: project,
    paint: painter(isTerminal, Boolean(Deno.env.get("NO_COLOR"))),
  });
  const inspector = choices.inspect && new Inspector(inspectorAddress(choices.inspect));
  const pages = new PageServer({
    ...{ appPort: port, port: pagePort(port), token: await tokenIn(folder) },
    opened: () => development.pageOpened(),
  });
  terminal.line(`holdfast dev: ${app ?? config}`, "bold");
  terminal.line(`pages: ${url}, reloaded by themselves`);
  terminal.line(`wall: ${wall.said}`);
  if (choices.inspect) terminal.line(`inspector: ${choices.inspect}, for chrome://inspect`);
  const program = folder.file("worker.js");
  const prebuilt = await isPrebuilt();
  const making = () => terminal.step("making the program of the workers, once", "dim");
  await Deno.writeTextFile(program, await workerProgram(folder.path, making));
  folder.tell(url);
  const development = new Development({
    supervisor: {
      ...{ config, app, runtime: folder.path, prebuilt },
      settings: {
        ...{ port, inspected: choices.inspect !== undefined, page: pages.page, program },
        ...wall.asked !== undefined && { wall: wall.asked },
      },
    },
    ...{ terminal, pages, inspector: inspector || undefined },
    isFirst: !isFolder(imagesIn(folder.path)),
    watched: async () => watchedOf(await read(), folder.path),
    served: () => {
      const get = (name: string) => Deno.env.get(name);
      const { os } = Deno.build;
      if (opensByItself(choices.open, { isTerminal, os, get })) openPage(url);
    },
  });
  const stop = () => development.stop();
  for (const signal of STOPS) Deno.addSignalListener(signal, stop);
  try {
    await development.run();
  } finally {
    for (const signal of STOPS) Deno.removeSignalListener(signal, stop);
    if (inspector) inspector.close();
    await pages.close();
  }
}

interface Choices {
  readonly wall: "kernel" | "deno" | undefined;
  readonly inspect: string | undefined;
  readonly open: Opening;
}

function readChoices({ wall, inspect, open }: DevelopmentChoices): Choices {
  const oneOf = <Value extends string>(
    option: string,
    value: string | undefined,
    known: readonly Value[],
  ): Value | undefined => {
    const found = known.find((each) => each === value);
    if (value === undefined || found !== undefined) return found;
    throw usage(`--${option} is ${known.join(" or ")}, not ${JSON.stringify(value)}`);
  };
  return {
    wall: oneOf("wall", wall, ["kernel", "deno"]),
    open: oneOf("open", open, ["yes", "no"]),
    inspect: inspect === "" ? INSPECTOR_ADDRESS : inspect,
  };
}

function usage(message: string): HoldfastError {
  return new HoldfastError(message, {
    ...{ kind: "usage", code: "usage", hint: "See holdfast dev --help" },
  });
}

/** Which wall is there, why, and whether the config is to be changed for it. */
function chooseWall(
  { wall, inspect }: Choices,
  configured: unknown,
): { readonly asked: Choices["wall"]; readonly said: string } {
  if (inspect !== undefined && wall === "kernel") {
    throw usage("Behind the kernel's wall a worker cannot listen for a debugger: leave --wall out");
  }
  const { os } = Deno.build;
  const asked = wall ?? (inspect === undefined && os === "linux" ? undefined : "deno");
  if ((asked ?? configured) !== "deno") return { asked, said: "kernel" };
  const why = wall !== undefined
    ? "as --wall asked"
    : inspect !== undefined
    ? "as --inspect needs it"
    : os === "linux"
    ? "as the config says"
    : `as ${os} has no other`;
  return { asked, said: `deno, ${why}: native code is not held` };
}

/** The same over runs, so that a page of the last one hears of this one. */
async function tokenIn(folder: DevelopmentFolder): Promise<string> {
  const path = folder.file("token");
  const kept = await Deno.readTextFile(path).catch(() => "");
  if (/^[0-9a-f-]{36}$/.test(kept)) return kept;
  const token = crypto.randomUUID();
  await Deno.writeTextFile(path, token, { mode: 0o600 });
  return token;
}
