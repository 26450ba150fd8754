/**
 * A root folder with the C library of another release of Debian and nothing else: what runs in it
 * runs on that library. The packages come from where this machine gets its own.
 */
import { join } from "node:path";

/** The key with which Debian signs its releases. */
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** What a program that was built elsewhere takes: locales are in the second. */
const PACKAGES: readonly string[] = ["libc6", "libc-bin", "libgcc-s1"];

/** What it takes to make one. */
export const DEBIAN_ROOT = { programs: ["apt-get", "dpkg-deb", "chroot"], root: true } as const;

async function run(program: string, args: readonly string[], options: Deno.CommandOptions = {}) {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    ...options,
    args: [...args],
  })
    .output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${program} ${args[0]}: ${decoder.decode(stderr).slice(-500)}`);
  return decoder.decode(stdout);
}

/** Where this machine's apt gets the packages of Debian itself. */
async function findMirror(): Promise<string> {
  const text = await run("apt-get", ["indextargets", "--format", "$(REPO_URI) $(LABEL)"]);
  const main = text.split("\n").find((line) => line.endsWith(" Debian"))?.split(" ")[0];
  if (main === undefined) throw new Error("apt knows no mirror of Debian; try apt-get update");
  return main;
}

/**
 * Makes one below `folder`.
 *
 * @param release its name, such as `trixie`
 * @param packages of which the libraries and headers are put there
 * @throws {Error} if the packages are not to be had
 */
export async function makeDebianRoot(
  folder: string,
  release: string,
  packages: readonly string[] = PACKAGES,
): Promise<string> {
  const apt = join(folder, `apt_${release}`);
  for (const name of ["lists/partial", "cache/archives/partial", "packages"]) {
    await Deno.mkdir(join(apt, name), { recursive: true });
  }
  const sources = join(apt, "sources.list");
  await Deno.writeTextFile(
    sources,
    `deb [signed-by=${KEYRING}] ${await findMirror()} ${release} main\n`,
  );
  await Deno.writeTextFile(
    join(apt, "apt.conf"),
    [
      `Dir::Etc::sourcelist "${sources}";`,
      'Dir::Etc::sourceparts "/dev/null";',
      `Dir::State::lists "${join(apt, "lists")}";`,
      `Dir::Cache "${join(apt, "cache")}";`,
      'Dir::State::status "/dev/null";',
      'APT::Sandbox::User "root";',
      'Acquire::Languages "none";',
      'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
    ].join("\n"),
  );
  const options = { cwd: join(apt, "packages"), env: { APT_CONFIG: join(apt, "apt.conf") } };
  await run("apt-get", ["update", "-qq"], options);
  await run("apt-get", ["download", "-qq", ...packages], options);
  const root = join(folder, `root_${release}`);
  for (const name of ["usr/lib", "usr/lib64", "usr/include", "etc", "proc", "dev", "tmp", "run"]) {
    await Deno.mkdir(join(root, name), { recursive: true });
  }
  for (const name of ["lib", "lib64"]) await Deno.symlink(`usr/${name}`, join(root, name));
  for (const { name } of Deno.readDirSync(options.cwd)) {
    const content = join(apt, name.split("_")[0]!);
    await run("dpkg-deb", ["-x", join(options.cwd, name), content]);
    // Older releases have them in /lib, which is a link here.
    for (const place of ["", "usr/"]) {
      for (const each of ["lib", "lib64", "include"]) {
        const from = join(content, place, each);
        const there = await Deno.stat(from).then(() => true, () => false);
        if (there) await run("cp", ["-a", `${from}/.`, join(root, "usr", each)]);
      }
    }
  }
  await Deno.writeTextFile(join(root, "etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
  await Deno.writeTextFile(join(root, "etc/group"), "root:x:0:\n");
  return root;
}

/**
 * Runs the rest of the command in a root.
 *
 * @param shared paths of this machine that are there, too, under the same names
 */
export async function inRoot(root: string, shared: readonly string[]): Promise<string[]> {
  const mounts: string[] = [];
  for (const path of shared) {
    const { isDirectory } = await Deno.stat(path);
    const place = join(root, path);
    await Deno.mkdir(isDirectory ? place : join(place, ".."), { recursive: true });
    if (!isDirectory) await Deno.writeTextFile(place, "");
    mounts.push(`mount --bind ${path} ${place}`);
  }
  const script = [
    "set -e",
    ...mounts,
    `mount --rbind /dev ${root}/dev`,
    `mount -t proc proc ${root}/proc`,
    `mount -t tmpfs tmpfs ${root}/run`,
    `exec chroot ${root} "$0" "$@"`,
  ].join("\n");
  return ["unshare", "--mount", "sh", "-c", script];
}
