/**
 * The beginning of every process of an executable that `deno compile` made: it learns which one it
 * is, gives up what is not its own, and only then loads its program.
 */
import { holdSignals } from "../base/control_signals.ts";
import { describeError } from "../child/report.ts";
import { NativeFacts, type Permissions, ROLE_VARIABLE } from "../protocol/native.ts";
import { findLeftovers, narrow } from "./narrow.ts";

/** What a program is told. */
export interface NativeContext {
  readonly role: string;
  readonly facts: NativeFacts;
  /** What the executable was built with. */
  readonly union: Permissions;
  /** What this process has kept. */
  readonly kept: Permissions;
}

/** A program that may be loaded, by the name of the role. */
export type Programs = Readonly<
  Record<string, () => Promise<{ run(context: NativeContext): Promise<unknown> }>>
>;

/** Roles that run behind a wall of their own, and say hello to a supervisor. */
const CHILDREN = /^(worker|logger|metrics|resolver|helper .*)$/;

/** Exit status of a process that is not what it should be (EX_SOFTWARE). */
const FAULT = 70;

/** Starts the program of this process's role. */
export async function enter(
  given: unknown,
  union: Permissions,
  programs: Programs,
): Promise<void> {
  try {
    const facts = NativeFacts.parse(given);
    const role = Deno.env.get(ROLE_VARIABLE) ?? "supervisor";
    if (role === "supervisor" && Deno.args.includes("start")) holdSignals();
    const [kept, load] = [facts.roles[role], programs[role]];
    if (!Object.hasOwn(facts.roles, role) || !Object.hasOwn(programs, role) || !kept || !load) {
      throw new Error(
        `${ROLE_VARIABLE} says ${JSON.stringify(role)}, and there is no such process`,
      );
    }
    // Native code goes when it has served its one purpose: lib/child/later_filter.ts.
    const first = CHILDREN.test(role) ? { ...kept, ffi: union.ffi } : kept;
    narrow(union, first);
    const faults = findLeftovers(union, first);
    if (faults.length > 0) throw new Error(`Cannot narrow the ${role}: ${faults.join("; ")}`);
    const { run } = await load();
    await run({ role, facts, union, kept });
  } catch (error) {
    const line = `holdfast: ${describeError(error)}\n`;
    try {
      Deno.stderr.writeSync(new TextEncoder().encode(line));
    } catch {
      // Nobody reads it; the exit status says it still.
    }
    Deno.exit(FAULT);
  }
}
