/** A disk that is soon full. */

/**
 * Mounts a file system of one MiB on a folder, until it is disposed of.
 *
 * @returns nothing where this user may not mount; that is said on the terminal
 */
export async function mountSmall(folder: string): Promise<AsyncDisposable | undefined> {
  const run = (command: string, ...args: string[]) =>
    new Deno.Command(command, { args, stdout: "null", stderr: "piped" }).output();
  const { success, stderr } = await run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder);
  if (success) {
    return { [Symbol.asyncDispose]: async () => void await run("umount", "--lazy", folder) };
  }
  // deno-lint-ignore no-console
  console.log(
    `SKIPPED, nothing was tested: cannot mount a tmpfs: ${new TextDecoder().decode(stderr).trim()}`,
  );
  return undefined;
}
