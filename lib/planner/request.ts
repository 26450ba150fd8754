/** What a planner is asked. */
import type { Config } from "../config/config.ts";
import type { ConfigText } from "../config/runtime_place.ts";
import type { Plan } from "../protocol/plan.ts";
import type { PackedImage } from "../protocol/packed_image.ts";

/** A config that was read and not judged, or one that was planned before, with what it ran if that stays. */
export type Planning =
  | { readonly text: Pick<ConfigText, "file" | "named" | "folder" | "text"> }
  | { readonly config: Config; readonly kept?: Plan };

/** Where an image comes from and goes to. */
export interface PlanPlaces {
  /** Where images are kept. */
  readonly images: string;
  /** An empty folder in it, to be written. */
  readonly staging: string;
  /** The user's DENO_DIR. */
  readonly denoDir: string;
  /** A DENO_DIR that leads to that one for packages, and has what it compiles for itself. */
  readonly compiled: string;
  /** The packages there that are to be made all the same: they are not what they were. */
  readonly remake?: readonly string[];
  /** Whether what is missing can be fetched. */
  readonly network: "none" | "names";
  /** What the check of the config is to know. */
  readonly facts: {
    readonly denoProgram: string;
    readonly holdfast: string;
    readonly runtime?: string;
  };
}

/** All of it. */
export interface PlanRequest extends PlanPlaces {
  readonly planning: Planning;
  /** The image of an executable, which is taken in place of making one. */
  readonly packed?: PackedImage;
  /** Whether it may grant more than what serves, or nothing serves. */
  readonly mayWiden: boolean;
  /** Whether processes can have accounts of their own. */
  readonly separates: boolean;
}
