/** Shows a page in the user's browser. */

/** What `--open` may say. */
export type Opening = "yes" | "no" | undefined;

/** Whether there is a screen on which somebody would see it. */
export function opensByItself(
  opening: Opening,
  { isTerminal, os, get }: {
    readonly isTerminal: boolean;
    readonly os: string;
    readonly get: (name: string) => string | undefined;
  },
): boolean {
  if (opening !== undefined) return opening === "yes";
  if (!isTerminal || get("CI") || get("SSH_CONNECTION")) return false;
  return os === "darwin" || Boolean(get("DISPLAY") || get("WAYLAND_DISPLAY"));
}

/** Opens it; without a program for that nothing happens. */
export function openPage(url: string): void {
  try {
    const program = Deno.build.os === "darwin" ? "open" : "xdg-open";
    const child = new Deno.Command(program, {
      args: [url],
      ...{ stdin: "null", stdout: "null", stderr: "null" },
    }).spawn();
    child.unref();
    void child.status;
  } catch {
    // The address is in the terminal.
  }
}
