/** The step from one supervisor to the next in the same process. */
import { HoldfastError } from "../base/error.ts";
import type { BoundAddress } from "../config/config.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { copyForExec, findDescriptors, replaceProgram } from "../os/exec.ts";
import { workingFolder } from "../config/spelled_path.ts";
import { encodeFrame } from "../protocol/frame.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { children } from "./child_table.ts";
import type { ControlServer } from "./control_server.ts";
import {
  type Inheritance,
  INHERITANCE_VARIABLE,
  leaveAsked,
  type ServiceBequest,
} from "./inheritance.ts";
import type { Listener } from "./listener.ts";
import { names } from "./names.ts";
import type { RuntimeFolder } from "./runtime_folder.ts";
import type { System } from "./system.ts";

/** What is left to the next supervisor. */
export interface Estate
  extends Pick<Inheritance, "lastGeneration" | "lastWorker" | "upgrades" | "drainMs"> {
  readonly folder: string;
  readonly runtime: RuntimeFolder;
  readonly control: ControlServer;
  /** What of the service manager is to be known further on. */
  readonly service: ServiceBequest | undefined;
  readonly listeners: readonly { readonly address: BoundAddress; readonly listener: Listener }[];
}

/**
 * Puts the program that lies there now in this one's place. From here to the end of this function
 * nothing else runs on this thread: nothing is spawned or bound between the look at it and the exec.
 *
 * @throws {Error} if that fails; everything is as before then
 */
export function handToNext(own: ReturnType<System["ownProgram"]>, estate: Estate): never {
  const copies: number[] = [];
  const keep = (fd: number): number => {
    const copy = copyForExec(fd);
    copies.push(copy);
    return copy;
  };
  const keepDuplicate = (fd: number): number => {
    try {
      return keep(fd);
    } finally {
      closeDescriptor(fd);
    }
  };
  try {
    const { folder, runtime, control, listeners, service, ...counts } = estate;
    const [lock] = findDescriptors((target) => target === runtime.lockFile);
    if (lock === undefined) {
      throw new HoldfastError(`The lock ${runtime.lockFile} is not there any more`, {
        kind: "environment",
        code: "lock_lost",
        hint: "Somebody removed or replaced it: restart Holdfast",
      });
    }
    const dials = [...new Set([...children.values()].map((each) => JSON.stringify(each.dials)))];
    const inheritance: Inheritance = {
      pid: Deno.pid,
      runtime: folder,
      outputs: [...children.values()].flatMap(({ ends }) => ends.outputs.map(keep)),
      lock: keep(lock),
      control: keepDuplicate(control.duplicate()),
      listeners: listeners.map(({ address, listener }) => ({
        address,
        fd: keepDuplicate(listener.duplicate()),
      })),
      ...service && {
        service: {
          ...service,
          passed: service.passed.map(({ fd, name }) => ({ fd: keep(fd), name })),
        },
      },
      names: names.handOver(),
      dials: dials.map((each) => JSON.parse(each)),
      residents: [...children].map(([pid, { role, onViolation, endsAtMs, ends, ...record }]) => ({
        ...{ pid, role, onViolation, endsAtMs, dials: dials.indexOf(JSON.stringify(record.dials)) },
        guard: ends.guard === undefined ? undefined : keep(ends.guard),
        ...leaveAsked(ends.asked),
        // One of which the channel is closed has broken a rule, and ends.
        ends: [ends.channel, ends.handOver].flatMap((fd) => fd === undefined ? [] : [keep(fd)]),
      })),
      // A worker of this release may not understand the next one.
      farewell: encodeFrame({ type: "drain", reason: "replaced" } satisfies ToWorker).toBase64(),
      ...counts,
    };
    // The one that it is in may be gone, and a link to it be moved.
    Deno.chdir(workingFolder());
    replaceProgram(own.program, own.args, {
      ...Deno.env.toObject(),
      [INHERITANCE_VARIABLE]: JSON.stringify(inheritance),
    });
  } catch (error) {
    copies.forEach(closeDescriptor);
    throw error;
  }
}
