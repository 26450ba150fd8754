/**
 * `deno task fuzz [--seconds 60] [--seed N] [NAME]...`: gives changed bytes to what strangers can reach.
 * What it finds goes into a file of the corpus, so that every later run begins with it.
 */
import { parseArgs } from "@std/cli";
import { join } from "node:path";
import { Found, fuzz } from "../tests/fuzz/fuzz.ts";
import { TARGETS } from "../tests/fuzz/targets.ts";

const args = parseArgs(Deno.args, {
  string: ["seconds", "seed"],
  default: { seconds: "60", seed: String(Date.now() % 2 ** 32) },
});
const names = args._.map(String);
const targets = TARGETS.filter(({ name }) => names.length === 0 || names.includes(name));
const [seconds, seed] = [Number(args.seconds), Number(args.seed)];
if (targets.length === 0 || !(seconds > 0) || !Number.isInteger(seed)) {
  print(
    `Usage: deno task fuzz [--seconds S] [--seed N] [${
      TARGETS.map(({ name }) => name).join("|")
    }]...`,
  );
  Deno.exit(64);
}
let failed = false;
for (const target of targets) {
  const endMs = performance.now() + seconds * 1_000 / targets.length;
  try {
    const tried = fuzz(target, seed, () => performance.now() < endMs);
    print(`${target.name}: ${tried} inputs, seed ${seed}`);
  } catch (error) {
    if (!(error instanceof Found)) throw error;
    failed = true;
    const file = join("tests/fuzz/corpus", target.name, `found_${seed}`);
    Deno.writeFileSync(join(import.meta.dirname!, "..", file), error.input);
    print(`${error.message}\nIt is kept in ${file}`);
  }
}
Deno.exit(failed ? 1 : 0);

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
