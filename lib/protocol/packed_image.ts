/**
 * An image as an executable brings it: the planner's, with the places of its modules left open, since
 * nobody knows where they will be. They are filled in by the planner that takes the image, or, where the
 * app's files are in the program itself, by each process.
 */

/** The parts of a packed image. */
export const PACKED = { plan: "plan.json", image: "image", packages: "packages" } as const;

/** The module image of a process, in its folder. */
export const PACKED_MODULES = "image.json";

/** Where a packed image is, and where the app's files have come to be. */
export interface PackedImage {
  readonly folder: string;
  /** The folder that `holdfast-app:///` stands for; it stays open where each process has its own. */
  readonly files: string | undefined;
  /** What else decides which code runs after the next reload. */
  readonly guarded: readonly string[];
}
