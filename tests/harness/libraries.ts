/** Loads what a test would load when it first calls it: that would look like a leak of the test. */
import { openPid } from "../../lib/os/process.ts";
import { sockets } from "../../lib/os/socket_calls.ts";
import { peerName } from "../../lib/os/socket_name.ts";

/** Above every pid that the kernel gives. */
const NO_PID = 2 ** 30;

void sockets.symbols;
peerName(-1);
openPid(NO_PID);
