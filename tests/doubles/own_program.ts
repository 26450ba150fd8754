/** Prints what an upgrade would start in this program's place. */
import { realSystem } from "../../lib/supervisor/system.ts";

const { args } = realSystem.ownProgram("/srv/app/holdfast.jsonc");
Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(args)));
