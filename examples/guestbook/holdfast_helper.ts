/**
 * What Holdfast gives to helpers and to those who call them. One step aside: an import map that
 * leads straight into another package ties deno.lock to all that the package depends on.
 */
export * from "../../lib/helper/mod.ts";
