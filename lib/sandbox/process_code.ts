/** What the processes of a generation are started from. Data: it is planned once, and then executed. */
import type { Judgement, Plan } from "../protocol/plan.ts";

/** What one process is started from. */
export interface ProcessCode {
  /** A file of JavaScript that goes before Holdfast's own program; a program of its own has none. */
  readonly image: string | undefined;
  /** The URL from which packages are looked for. */
  readonly packagesFrom: string | undefined;
  /** Folders of packages, which the app may read too: some ship more than code. */
  readonly packages: readonly string[];
  /** Flags of `deno run` that name its settings. */
  readonly flags: readonly string[];
  readonly denoDir: string;
  /** What it may read beside what it is granted. */
  readonly reads: readonly string[];
}

/** What the processes of a generation are started from. */
export interface Code {
  /** The folder of the image. */
  readonly folder: string;
  /** By which the image is found again. */
  readonly plan: Plan;
  /** What was found of the paths when it was planned. */
  readonly judgement?: Judgement;
  /** Of `worker`, and of each `helper NAME`. */
  readonly processes: Readonly<Record<string, ProcessCode>>;
}

/** No folder can be made there: what would be kept in it is of no use to anybody. */
const NO_DENO_DIR = "/dev/null/deno_dir";

/** The code of a program of Holdfast's own that imports nothing. */
export function ownCode(denoDir: string = NO_DENO_DIR): ProcessCode {
  return {
    image: undefined,
    packagesFrom: undefined,
    packages: [],
    // Settings that lie above its folder are none of its business.
    flags: ["--no-config", "--no-lock"],
    denoDir,
    reads: [],
  };
}
