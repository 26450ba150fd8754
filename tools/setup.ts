/** `deno task setup`: installs the Debian packages of the programs that tests call. */
import { hasProgram, PROGRAMS } from "./programs.ts";

const missing = Object.entries(PROGRAMS).filter(([program]) => !hasProgram(program));
const packages = [...new Set(missing.map(([, debianPackage]) => debianPackage))];

// deno-lint-ignore no-console
const say = console.log;

async function apt(...args: string[]): Promise<void> {
  const { code } = await new Deno.Command("apt-get", {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive" },
  }).spawn().status;
  if (code !== 0) {
    say(`apt-get ${args.join(" ")} ended with status ${code}`);
    Deno.exit(1);
  }
}

if (packages.length === 0) say("Everything that the tests call is there");
else if (!hasProgram("apt-get") || Deno.uid() !== 0) {
  say(`Missing: ${missing.map(([program]) => program).join(", ")}`);
  say(`On Debian, as root: apt-get install ${packages.join(" ")}`);
  Deno.exit(1);
} else {
  await apt("update", "-qq");
  await apt("install", "-y", "-qq", "--no-install-recommends", ...packages);
}
