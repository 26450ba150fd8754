/**
 * `deno task setup`: installs the Debian packages of the programs that tests call. With `conformance` it
 * also makes those that Debian has not, in /opt/holdfast_tests, and links them into /usr/local/bin.
 */
import { fileURLToPath } from "node:url";
import { BUILT_PROGRAMS, hasProgram, PROGRAMS } from "./programs.ts";

const FOLDER = "/opt/holdfast_tests";

/** What makes each; `go install` and pip take the versions that lie beside this file, and no others. */
const RECIPES: Record<keyof typeof BUILT_PROGRAMS, string> = {
  h2spec: `GOBIN=${FOLDER}/bin go install github.com/summerwind/h2spec/cmd/h2spec`,
  sslyze: `python3 -m venv ${FOLDER}/sslyze
${FOLDER}/sslyze/bin/pip install --quiet -r requirements.txt
mkdir -p ${FOLDER}/bin
ln -sf ${FOLDER}/sslyze/bin/sslyze ${FOLDER}/bin/sslyze`,
};

// deno-lint-ignore no-console
const say = console.log;

async function run(program: string, args: string[], options: Deno.CommandOptions = {}) {
  const { code } = await new Deno.Command(program, { ...options, args }).spawn().status;
  if (code === 0) return;
  say(`${program} ${args.join(" ")} ended with status ${code}`);
  Deno.exit(1);
}

const apt = (...args: string[]) =>
  run("apt-get", args, { env: { DEBIAN_FRONTEND: "noninteractive" } });

const wanted = Object.entries(PROGRAMS).filter(([program]) => !hasProgram(program));
const toBuild = Deno.args.includes("conformance")
  ? (Object.keys(RECIPES) as (keyof typeof RECIPES)[]).filter((program) => !hasProgram(program))
  : [];
const packages = [
  ...new Set([
    ...wanted.map(([, debianPackage]) => debianPackage),
    ...toBuild.filter((program) => program !== "h2spec" || !hasProgram("go"))
      .map((program) => BUILT_PROGRAMS[program]),
  ]),
];

if (packages.length + toBuild.length === 0) say("Everything that the tests call is there");
else if (!hasProgram("apt-get") || Deno.uid() !== 0) {
  say(`Missing: ${[...wanted.map(([program]) => program), ...toBuild].join(", ")}`);
  say(`On Debian, as root: apt-get install ${packages.join(" ")}`);
  Deno.exit(1);
} else {
  if (packages.length > 0) {
    await apt("update", "-qq");
    await apt("install", "-y", "-qq", "--no-install-recommends", ...packages);
  }
  for (const program of toBuild) {
    const cwd = fileURLToPath(new URL(`./${program}`, import.meta.url));
    await run("sh", ["-euc", RECIPES[program]], { cwd });
    await run("ln", ["-sf", `${FOLDER}/bin/${program}`, `/usr/local/bin/${program}`]);
  }
}
