const PARENT_POLL_MS = 200;

/** A server that a test has started does not outlive it, however the test ended. */
export function exitWithParent(): void {
  const parent = Deno.ppid;
  setInterval(() => Deno.ppid === parent || Deno.exit(0), PARENT_POLL_MS);
}

/** Prints a line that `ServerProcess` waits for. */
export function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

/** Calls back for every HUP, one at a time; those that come in between count as one more. */
export function onHangUp(reload: () => Promise<void>): void {
  let wanted = 0;
  let running: Promise<void> | undefined;
  Deno.addSignalListener("SIGHUP", () => {
    wanted = running === undefined ? 1 : 2;
    running ??= (async () => {
      for (; wanted > 0; wanted--) await reload();
      running = undefined;
    })();
  });
}
