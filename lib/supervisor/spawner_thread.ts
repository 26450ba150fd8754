/**
 * A spawner: a thread of the supervisor from which one process is spawned.
 *
 * It is a thread of its own because what confines a process on Linux (no_new_privs, Landlock,
 * seccomp) is an attribute of the thread that forks it: this one can be confined for good, and its
 * child with it, while the rest of the supervisor is not. It ends when the child is there: descriptors
 * and children belong to all threads of a process. For the same reason such threads run errands, for
 * which no process is needed, and connect to Unix sockets as the user of who asks for it.
 */
import { dropCapabilities } from "../os/capabilities.ts";
import { becomeDialler, connectUnix } from "../os/dial_unix.ts";
import { isForbidden, makePrivateFolder, mayEnter, readText } from "../os/file.ts";
import { restrictSelf, setNoNewPrivileges } from "../os/landlock.ts";
import { enterAlone, takeFileIds } from "../os/process.ts";
import { installProgram } from "../os/seccomp.ts";
import { spawnProgram } from "../os/spawn.ts";
import type { Wall } from "../sandbox/wall.ts";
import type { Dial, Dialled, Errand, ErrandResult, FromSpawner, Spawn } from "./spawner_message.ts";

/** More than what is read has: a certificate, its chain and its key. */
const MAX_READ_BYTES = 128 * 1024;

/** What an errand may do in the folder above its path. */
const RIGHTS = { make: ["makeDir", "readDir"], enter: [], read: ["readFile"] } as const;

const BECOME = ["setGid", "setUid"] as const;

const thread = self as unknown as {
  postMessage(message: FromSpawner | ErrandResult | Dialled): void;
  onmessage: ((event: MessageEvent<Spawn | Errand | Dial>) => void) | null;
};

/** Whether this thread has become one that dials, as who it dials for. */
let dials = false;

function dialFor({ id, owner, path }: Dial): Dialled {
  try {
    if (!dials) becomeDialler(owner);
    dials = true;
    return { id, ...connectUnix(path) };
  } catch (error) {
    return { id, failure: (error as Error).message };
  }
}

// Order matters. Both layers bind the calling thread alone, and what it forks inherits them: so
// every call of this function must be made here, synchronously, before anything is spawned. The
// program comes last, since it refuses some of the calls before it. What the questions come by is
// returned; nothing if it failed.
function confine(wall: Wall | undefined): { questions: number | undefined } | undefined {
  let hint = 'Set "wall": "deno" to accept Deno\'s permissions alone';
  try {
    let questions: number | undefined;
    if (wall !== undefined) {
      setNoNewPrivileges();
      restrictSelf(wall.landlock, wall.abi);
      if (!isForbidden(wall.forbidden, wall.seccomp.runs ? "write" : "read")) {
        hint = "Something unveiled leads there, such as a bind mount: unveil less, or move runtime";
        throw new Error(`Landlock is on, and ${wall.forbidden} can be opened still`);
      }
      // A planner reads and writes for whoever started Holdfast. Others have none from their exec on;
      // till then the thread has to find the program, and to become its user.
      if (wall.seccomp.runs) dropCapabilities(["override", "readSearch"], false);
      else dropCapabilities([...wall.owner ? BECOME : [], "readSearch"], true);
      questions = installProgram(wall.program);
    }
    thread.postMessage({ type: "confined", questions });
    return { questions };
  } catch (error) {
    thread.postMessage({ type: "not_confined", error: (error as Error).message, hint });
    return undefined;
  }
}

/** Before anything is done, the thread loses every right that it does not take. */
function run({ errand, path, abi, account, owner }: Errand): ErrandResult {
  const above = path.slice(0, path.lastIndexOf("/")) || "/";
  setNoNewPrivileges();
  if (abi > 0) {
    const paths = [{ path: above, rights: RIGHTS[errand], presence: "required" as const }];
    restrictSelf({ paths, connect: [], names: false }, abi);
  }
  if (account) takeFileIds(account);
  // Root makes a folder where nobody else may.
  dropCapabilities(account ? [] : ["chown", "override", "readSearch"], false);
  if (errand === "read") {
    const text = readText(path, MAX_READ_BYTES);
    if (text === undefined) throw new Error(`Cannot read ${path}`);
    return { type: "read", text };
  }
  if (errand === "make") makePrivateFolder(path, owner);
  else if (!mayEnter(path)) return { type: "refused" };
  return { type: "done" };
}

thread.onmessage = ({ data }) => {
  if ("errand" in data) {
    try {
      return thread.postMessage(run(data));
    } catch (error) {
      return thread.postMessage({ type: "failed", error: (error as Error).message });
    }
  }
  if ("path" in data) return thread.postMessage(dialFor(data));
  const { wall, program } = data;
  try {
    // Before the wall, which refuses that. Root without capabilities may not enter what the account may.
    const { account, cwd } = program;
    const there = account && cwd && enterAlone(cwd, wall?.owner?.shares === true);
    const confined = confine(wall);
    if (confined === undefined) return;
    // The kernel asks the supervisor's guard about the exec; this thread waits meanwhile.
    thread.postMessage({
      type: "spawned",
      pid: spawnProgram(there ? { ...program, cwd: undefined } : program, confined.questions),
    });
    // The runtime would print an error that is not caught by itself, past the log.
  } catch (error) {
    thread.postMessage({ type: "not_spawned", error: (error as Error).message });
  }
};
