/** Apps that a framework builds: built here by its own command, then served and reloaded. */
import { BUILT } from "../apps/built.ts";
import { testApps } from "../harness/apps.ts";

testApps(BUILT);
