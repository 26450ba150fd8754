/**
 * Writes into docs/wall.md what the seccomp programs answer. With `--check` it writes nothing and exits 1
 * when that is stale.
 *
 * deno run -A tools/write_filter_table.ts [--check]
 */
import { filterTable } from "./filter_table.ts";

const FILE = new URL("../docs/wall.md", import.meta.url);
const [BEGIN, END] = ["<!-- calls: begin, by deno task filter -->", "<!-- calls: end -->"];

const before = await Deno.readTextFile(FILE);
const [head, rest] = before.split(BEGIN);
const tail = rest?.split(END)[1];
if (head === undefined || tail === undefined) throw new Error(`${FILE.pathname} lacks ${BEGIN}`);
const after = await format(`${head}${BEGIN}\n\n${filterTable()}\n\n${END}${tail}`);

if (!Deno.args.includes("--check")) {
  await Deno.writeTextFile(FILE, after);
} else if (before !== after) {
  // deno-lint-ignore no-console
  console.error(`${FILE.pathname} is stale: run deno task filter`);
  Deno.exitCode = 1;
}

async function format(text: string): Promise<string> {
  const formatter = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext=md", "-"],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const written = new Blob([text]).stream().pipeTo(formatter.stdin);
  const { success, stdout } = await formatter.output();
  await written;
  if (!success) throw new Error("deno fmt failed");
  return new TextDecoder().decode(stdout);
}
