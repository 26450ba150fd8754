/**
 * The program of the acme process. The supervisor bundles this file and hands the text to a narrowed
 * `deno run` on its standard input.
 */
import { PROTOCOL_VERSION } from "../protocol/version.ts";
import { runLife } from "../child/life.ts";
import { createAcme } from "./run.ts";

await runLife({ version: PROTOCOL_VERSION, equip: createAcme });
