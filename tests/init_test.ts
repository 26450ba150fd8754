import { firstProcessNeeds, liveAsFirstProcess } from "./harness/first_process.ts";
import { testWith } from "./harness/needs.ts";

testWith(
  firstProcessNeeds(),
  "as process 1 it reaps orphans, reloads on HUP and exits 0 on SIGTERM",
  () => liveAsFirstProcess("SIGTERM"),
);
