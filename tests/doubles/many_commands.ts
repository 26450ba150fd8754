/**
 * Runs command lines of the CLI one after the other in one process: to start one for each takes longer
 * than what most of them do. They come as JSON on standard input; what came of each goes out as JSON.
 */
import { runCli } from "../../lib/cli/cli.ts";

/** A command line, and where it is run. */
export interface CommandLine {
  readonly args: readonly string[];
  readonly cwd?: string;
}

/** What came of it. */
interface Result {
  readonly code: number;
  stdout: string;
  stderr: string;
}

if (import.meta.main) {
  const lines: CommandLine[] = await new Response(Deno.stdin.readable).json();
  const stdout = Deno.stdout.writeSync.bind(Deno.stdout);
  const written = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    const decoder = new TextDecoder();
    const take = (bytes: Uint8Array) => {
      written[name] += decoder.decode(bytes);
      return bytes.length;
    };
    Deno[name].writeSync = take;
    Deno[name].write = (bytes) => Promise.resolve(take(bytes));
  }
  const results: Result[] = [];
  for (const { args, cwd } of lines) {
    Object.assign(written, { stdout: "", stderr: "" });
    if (cwd !== undefined) Deno.chdir(cwd);
    results.push({ code: await runCli([...args]), ...written });
  }
  stdout(new TextEncoder().encode(JSON.stringify(results)));
  Deno.exit(0);
}
