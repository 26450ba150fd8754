/**
 * The build stage of deploy/docker/Dockerfile, line by line and as it is written, without a daemon: in
 * place of its base image is a layer over this machine's root, with this deno in it.
 */
import { join } from "node:path";
import { REPOSITORY } from "./project.ts";

export const DOCKERFILE = join(REPOSITORY, "deploy/docker/Dockerfile");

/** What takes root, and a Debian with its mirror. */
export const STAGE = { programs: ["apt-get", "chroot", "tar", "unshare"], root: true } as const;

/** The instructions of a stage, comments left out. */
function instructionsOf(stage: string): [word: string, rest: string][] {
  return stage.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
    const [, word, rest] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    if (word === undefined || line.endsWith("\\")) throw new Error(`Cannot read ${line}`);
    return [word, rest!];
  });
}

/** What of the repository goes into the build, as the ignore file has it, for tar(1). */
async function excluded(): Promise<string[]> {
  const text = await Deno.readTextFile(`${DOCKERFILE}.dockerignore`);
  return text.trim().split("\n").map((pattern) =>
    `--exclude=${pattern.startsWith("**/") ? pattern.slice(3) : `./${pattern}`}`
  );
}

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * Runs it.
 *
 * @param denoDir where the build finds packages that are there already
 * @returns the folder that the next stage copies to its root
 */
export async function runBuildStage(folder: string, denoDir: string): Promise<string> {
  const text = await Deno.readTextFile(DOCKERFILE);
  const [stage, final] = text.split("\nFROM scratch\n");
  const copied = /^COPY --from=build (\S+) \/$/m.exec(final!)?.[1];
  if (copied === undefined) throw new Error("The last stage copies no folder of the first");
  const [root, layer, outcome] = ["root", "layer", "outcome"].map((name) => join(folder, name));
  for (const each of [root!, layer!, outcome!]) await Deno.mkdir(each);
  const inside = (line: string, at: string) =>
    `chroot ${root} env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ` +
    `HOME=/root DENO_DIR=${denoDir} sh -c ${quote(`cd ${at} && ${line}`)}`;
  const lines = [
    "set -e",
    `mount -t tmpfs tmpfs ${layer} && mkdir ${layer}/upper ${layer}/work`,
    `mount -t overlay overlay -o lowerdir=/,upperdir=${layer}/upper,workdir=${layer}/work ${root}`,
    ...["tmp", "run"].map((name) => `mount -t tmpfs tmpfs ${root}/${name}`),
    `mount -t proc proc ${root}/proc && mount --rbind /dev ${root}/dev`,
    `mkdir -p ${root}${copied} && mount --bind ${outcome} ${root}${copied}`,
    `mkdir -p ${root}${denoDir} && mount --bind ${denoDir} ${root}${denoDir}`,
    `cp ${Deno.execPath()} ${root}/usr/local/bin/deno`,
  ];
  let at = "/";
  for (const [word, rest] of instructionsOf(stage!)) {
    if (word === "RUN") lines.push(inside(rest, at));
    else if (word === "WORKDIR") at = rest;
    else if (word === "COPY" && rest.startsWith(". ")) {
      const to = `${root}${rest.slice(2)}`;
      const exclude = (await excluded()).map(quote).join(" ");
      lines.push(`mkdir -p ${to} && tar -C ${REPOSITORY} ${exclude} -cf - . | tar -C ${to} -xf -`);
    } else if (word !== "FROM") throw new Error(`Cannot do ${word} ${rest}`);
  }
  const { success, stdout, stderr } = await new Deno.Command("unshare", {
    args: ["--mount", "sh", "-c", lines.join("\n")],
  }).output();
  const decoder = new TextDecoder();
  if (!success) {
    throw new Error(`${DOCKERFILE}: ${decoder.decode(stdout)}${decoder.decode(stderr)}`);
  }
  return outcome!;
}
