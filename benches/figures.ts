import { countDescriptors, readStatus } from "../tests/harness/process.ts";

/** The middle of the figures; of an even number of them, the mean of the middle two. */
export function medianOf(figures: number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  if (low === undefined || high === undefined) {
    throw new RangeError("Cannot take a median of nothing");
  }
  return (low + high) / 2;
}

/** Prints a line of a report. */
export function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

/** Prints rows as a table. */
export function printTable(rows: unknown): void {
  // deno-lint-ignore no-console
  console.table(rows);
}

/** What a process holds of the machine. */
export function holdingOf(pid: number): { "resident MiB": string; descriptors: number } {
  const resident = Number.parseInt(readStatus(pid)?.["VmRSS"] ?? "");
  return {
    "resident MiB": (resident / 1_024).toFixed(1),
    descriptors: countDescriptors(pid),
  };
}

/** Reads a whole number above 0 from an option, or throws a `RangeError` that names the option. */
export function countOf(value: unknown, option: string): number {
  const count = Number(value);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new RangeError(`Cannot use --${option} ${value}: want a whole number above 0`);
}

/** Reads the engines to measure, as `native,node`. */
export function enginesOf(value: unknown): ("native" | "node")[] {
  return String(value).split(",").map((engine) => {
    if (engine === "native" || engine === "node") return engine;
    throw new RangeError(`Cannot use engine ${JSON.stringify(engine)}: want native or node`);
  });
}

/** What a process has used, by proc_pid_stat(5), in ticks of which Linux has a hundred a second. */
export function cpuSeconds(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /s, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** How long the runtime takes to run nothing. */
export async function bootMs(): Promise<number> {
  const startMs = performance.now();
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--ext=js", "--no-config", "--no-lock", "-"],
    ...{ stdin: "null", stdout: "null", stderr: "inherit" },
  }).output();
  if (!success) throw new Error("A bare deno run failed");
  return performance.now() - startMs;
}

/** Makes rows of times, beside those of {@linkcode bootMs}. */
export function besideBoots(boots: number[]) {
  const boot = medianOf(boots);
  return (what: string, ms: number[]): Record<string, string> => ({
    what,
    "median ms": medianOf(ms).toFixed(0),
    "least ms": Math.min(...ms).toFixed(0),
    "times a boot": (medianOf(ms) / boot).toFixed(1),
  });
}
