/** Apps as their frameworks' documentation has them: behind the kernel's wall, over reloads, and with nothing granted. */
import { APPS } from "../apps/table.ts";
import { testApps } from "../harness/apps.ts";

testApps(APPS);
