/** What a planner is asked. */
import type { Config } from "../config/config.ts";
import type { ConfigText } from "../config/runtime_place.ts";
import type { ImageRequest } from "./make_image.ts";

/** A config that was read and not judged, or one that was planned before. */
export type Planning =
  | { readonly text: Pick<ConfigText, "file" | "named" | "folder" | "text"> }
  | { readonly config: Config };

/** All of it. */
export type PlanRequest = Omit<ImageRequest, "config"> & { readonly planning: Planning };
