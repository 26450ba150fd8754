/** Runs a program that ends by itself, and gives what it printed. */
import { basename } from "node:path";
import { escapeUntrusted } from "../base/escape.ts";
import type { Account } from "../config/config.ts";

/** How long it may take: `deno` may have to fetch what its cache lacks. */
export const RUN_DEADLINE_MS = 120_000;

/** How much of what it complains of is repeated. */
const MAX_COMPLAINT = 2_000;

export interface RunOptions {
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
  readonly account?: Account | undefined;
  /** Another cache than this user's, without this user's settings. */
  readonly denoDir?: string;
  /** Whether it is out of the terminal's reach; the default is yes. */
  readonly detached?: boolean;
  /** Variables beside these. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Runs a program.
 *
 * @throws {Error} with what it complained of, or that it took too long
 * @throws the signal's reason when it aborts
 */
export async function runProgram(
  program: string,
  args: string[],
  { cwd, signal, account, denoDir, env, detached = true }: RunOptions,
): Promise<string> {
  const deadline = AbortSignal.timeout(RUN_DEADLINE_MS);
  const command = new Deno.Command(program, {
    args,
    cwd,
    env: {
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
      ...denoDir !== undefined && { DENO_DIR: denoDir },
      ...env,
    },
    clearEnv: denoDir !== undefined,
    ...account && { uid: account.uid, gid: account.gid },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // Out of the terminal's reach: a Ctrl-C would end it before the supervisor hears of the signal,
    // and look like modules that do not load. The supervisor ends it by `signal`. Only spawn()
    // heeds this, output() alone does not (seen with Deno 2.9.6).
    detached,
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
  });
  const { success, stdout, stderr } = await command.spawn().output();
  signal?.throwIfAborted();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(
    deadline.aborted
      ? `${basename(program)} ${args[0] ?? ""} took longer than ${RUN_DEADLINE_MS} ms`
      : escapeLines(new TextDecoder().decode(stderr)),
  );
}

function escapeLines(text: string): string {
  return text.trim().split("\n").map((line) => escapeUntrusted(line)).join("\n")
    .slice(0, MAX_COMPLAINT);
}
