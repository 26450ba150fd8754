/** What this process and a child have in common: pipes, sockets, and the child's program. */
import type { Question } from "../os/seccomp.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { ADDS_INPUT, type Input, makeInput, makePipe } from "../os/pipe.ts";
import { socketPair } from "../os/socket.ts";
import { CODE_KEY, programData } from "../protocol/program_data.ts";
import type { SpawnRequest } from "./spawner_message.ts";

/** This process's ends of what it and a child have in common; each may be closed already. */
export interface ChildEnds {
  readonly channel?: number | undefined;
  /** By which the child is handed descriptors. */
  readonly handOver?: number | undefined;
  /** By which the kernel asks about its calls. */
  readonly guard?: number | undefined;
  /** What came by that and has no answer yet. */
  readonly asked?: readonly Question[] | undefined;
  /** What it prints comes by these. */
  readonly outputs: readonly number[];
}

/**
 * Where the runtime of a worker takes descriptors, as from `node:child_process`. It is spoken to from
 * here and never read: that protocol lets a peer make its parent bind, and has no limits. It stays
 * open for as long as the worker lives: lanes come by it, and its number in the worker must not
 * become another file's.
 */
export const HAND_OVER = 3;

/** Whether a process that runs a program is given the modules of its app when it runs. */
export function takesImageLater(source: string): boolean {
  return ADDS_INPUT && source !== "";
}

/** Both ends, before there is a child. */
export interface OpenEnds {
  readonly ends: Required<Omit<ChildEnds, "guard" | "asked">>;
  /** The child's, in the order of the numbers that they have there. */
  readonly theirs: readonly number[];
  /** What the child finds on its standard input. */
  readonly input: Input;
}

/**
 * Opens them. On its standard input the child finds its program, and the modules of its app behind that
 * when it has run it; there is no program where the child has it in itself.
 *
 * @throws {Error} if there are too many descriptors, or if there is no image
 */
export function openEnds(
  { source, image, wall }: Pick<SpawnRequest, "source" | "image" | "wall">,
): OpenEnds {
  const data = wall?.code ? programData(CODE_KEY, wall.code) : "";
  const opened: number[] = [];
  const inputs: Input[] = [];
  const keep = <Ends extends number[]>(ends: Ends): Ends => {
    opened.push(...ends);
    return ends;
  };
  try {
    const later = takesImageLater(source) && image !== undefined;
    const input = makeInput(data + (later ? "" : image?.() ?? "") + source, later);
    keep([input.fd]);
    inputs.push(input);
    const [stdout, stdoutTheirs] = keep(makePipe());
    const [stderr, stderrTheirs] = keep(makePipe());
    const [handOver, handOverTheirs] = keep(socketPair());
    const [channel, channelTheirs] = keep(socketPair());
    return {
      ends: { channel, handOver, outputs: [stdout, stderr] },
      theirs: [input.fd, stdoutTheirs, stderrTheirs, handOverTheirs, channelTheirs],
      input,
    };
  } catch (error) {
    opened.forEach(closeDescriptor);
    inputs.forEach((input) => input.close());
    throw error;
  }
}
