import * as z from "zod";
import { ConfigSchema } from "./schema.ts";

/**
 * The JSON Schema of `holdfast.jsonc`, for editors. It has the keys, types, bounds and defaults; what
 * takes code to judge, such as addresses and paths, only Holdfast checks.
 */
export function configJsonSchema(): z.core.JSONSchema.BaseSchema {
  return {
    title: "holdfast.jsonc",
    description: "The config file of Holdfast.",
    ...z.toJSONSchema(ConfigSchema, { io: "input" }),
    allowComments: true,
    allowTrailingCommas: true,
  };
}
