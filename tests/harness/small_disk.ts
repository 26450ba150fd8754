/** A disk that is soon full. */

/**
 * Mounts a file system of a few MiB on a folder, until it is disposed of.
 *
 * @returns nothing where this user may not mount; that is said on the terminal
 */
export async function mountSmall(
  folder: string,
  mebibytes = 1,
): Promise<AsyncDisposable | undefined> {
  const run = (command: string, ...args: string[]) =>
    new Deno.Command(command, { args, stdout: "null", stderr: "piped" }).output();
  const { success, stderr } = await run(
    "mount",
    "-t",
    "tmpfs",
    "-o",
    `size=${mebibytes}m`,
    "tmpfs",
    folder,
  );
  if (success) {
    return { [Symbol.asyncDispose]: async () => void await run("umount", "--lazy", folder) };
  }
  // deno-lint-ignore no-console
  console.log(
    `SKIPPED, nothing was tested: cannot mount a tmpfs: ${new TextDecoder().decode(stderr).trim()}`,
  );
  return undefined;
}

/** Why no test can mount one here, or nothing if it can: only a try tells. */
export function whyNoSmallDisk(): string | undefined {
  const folder = Deno.makeTempDirSync({ prefix: "holdfast_test_disk_" });
  const run = (command: string, ...args: string[]) =>
    new Deno.Command(command, { args: [...args, folder], stdout: "null" }).outputSync();
  try {
    const { success, stderr } = run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs");
    if (!success) return `cannot mount a tmpfs: ${new TextDecoder().decode(stderr).trim()}`;
    run("umount", "--lazy");
    return undefined;
  } catch (error) {
    return `cannot mount a tmpfs: ${(error as Error).message}`;
  } finally {
    Deno.removeSync(folder);
  }
}
