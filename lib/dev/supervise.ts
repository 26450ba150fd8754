/** The supervisor of development: that of `start`, with other effects, for as long as the command lives. */
import { HoldfastError } from "../base/error.ts";
import { appFile } from "../cli/app_file.ts";
import type { CliCommand } from "../cli/command.ts";
import { askSupervisor } from "../cli/control_client.ts";
import { start } from "../cli/start.ts";
import { DevelopmentSettings } from "./settings.ts";
import { developmentSystem } from "./system.ts";

/** How often it is tried to stop a supervisor that is still to open its control socket. */
const STOP_EVERY_MS = 100;

/** Runs it; the settings come first on standard input, and its end is the order to stop. */
export const superviseDevelopment: CliCommand = async ({ app, ...options }) => {
  const input = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
  const settings = DevelopmentSettings.parse(JSON.parse(await firstLine(input)));
  const { config } = options;
  const served = app === undefined ? options : appFile(app, { ...options, isSuccessor: true });
  const system = developmentSystem(served.system, settings);
  void stopAtEnd(input, async () => (await system.locateRuntime(config)).runtime);
  return await start({ ...options, system, app: undefined });
};

async function firstLine(input: ReadableStreamDefaultReader<string>): Promise<string> {
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await input.read();
    if (done) {
      throw new HoldfastError("holdfast dev --supervise is started by holdfast dev alone", {
        ...{ kind: "usage", code: "usage", hint: "Run holdfast dev" },
      });
    }
    text += value;
  }
  return text.slice(0, text.indexOf("\n"));
}

async function stopAtEnd(
  input: ReadableStreamDefaultReader<string>,
  runtime: () => Promise<string>,
): Promise<void> {
  while (!(await input.read().catch(() => ({ done: true }))).done);
  while (true) {
    try {
      return void await askSupervisor(await runtime(), "stop", "stopped");
    } catch {
      await new Promise((resolve) => setTimeout(resolve, STOP_EVERY_MS));
    }
  }
}
