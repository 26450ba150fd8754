/** Runs `holdfast learn` on a project, with requests that it replays. */
import { join } from "node:path";
import { type CommandResult, resultOf } from "./server.ts";
import { HOLDFAST } from "./project.ts";

/** What `learn --json` says. */
export interface LearnedJson {
  readonly proposed: readonly {
    readonly process: string;
    readonly key: string;
    readonly item: string;
    readonly rights?: string;
    readonly because: string;
    readonly times: number;
  }[];
  readonly apart: readonly {
    readonly process: string;
    readonly what: string;
    readonly why: string;
    readonly because: string;
  }[];
  readonly replayed?: { readonly sent: number; readonly failed: readonly string[] };
  readonly failure?: string;
  readonly applied: boolean;
  readonly diff: string;
}

/** Learning starts the app several times over, on a machine that may be busy. */
const PATIENCE_MS = 600_000;

/** A command that learns, and its file of requests. */
export async function learnCommand(
  configFile: string,
  requests: readonly string[],
  { env = {}, args = [] }: {
    readonly env?: Readonly<Record<string, string>>;
    readonly args?: readonly string[];
  } = {},
): Promise<CommandResult> {
  const file = `${configFile}.requests`;
  await Deno.writeTextFile(file, requests.map((each) => `${each}\n`).join(""));
  const output = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", join(HOLDFAST, "main.ts"), "learn", "--config", configFile],
      ...["--requests", file, ...args],
    ],
    env: { ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).output();
  await Deno.remove(file);
  return resultOf(output);
}

/** What it proposes, read from its JSON. */
export async function learned(
  ...[configFile, requests, { args = [], ...more } = {}]: Parameters<typeof learnCommand>
): Promise<LearnedJson> {
  const { code, stdout, stderr } = await learnCommand(configFile, requests, {
    ...more,
    args: ["--json", ...args],
  });
  if (stdout === "") throw new Error(`learn ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout);
}
