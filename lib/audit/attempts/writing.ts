/** Changing what is not the app's. */
import { Buffer } from "node:buffer";
import * as fs from "node:fs";
import * as net from "node:net";
import process from "node:process";
import { backup, DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import * as v8 from "node:v8";
import type { Attempt, World } from "../attempt.ts";
import { type Argument, AT_FDCWD, type CallName, must, reaches, Refused } from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

type More = Partial<Omit<Attempt, "id" | "area" | "title" | "run">>;

/** An attempt to change something, which both layers are to stop unless said otherwise. */
function change(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return {
    ...{ id, area: "write", title, deno: "stops", kernel: "stops", proof: "change" },
    ...more,
    run,
  };
}

/** The same on what cannot be seen from outside. */
function claim(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return change(id, title, run, { proof: "claim", ...more });
}

/** A raw call that changes something. */
function native(
  id: string,
  title: string,
  name: CallName,
  argumentsFor: (world: World) => readonly Argument[],
  more: More = {},
): Attempt {
  return change(id, title, (world) => void must(name, ...argumentsFor(world)), more);
}

/** A raw call that makes something. */
function makes(name: CallName, ...args: readonly Argument[]): string {
  return `it returned ${must(name, ...args)}`;
}

/** A raw call that cannot work, and shows whether the kernel would have looked at it. */
function probe(
  id: string,
  title: string,
  name: CallName,
  argumentsFor: (world: World) => readonly Argument[],
  more: More = {},
): Attempt {
  return claim(id, title, (world) => reaches(name, ...argumentsFor(world)), more);
}

const THROUGH_LINK: More = {
  deno: "open",
  note: "Deno checks where the link lies, not where it leads",
};

const MERGED: More = {
  deno: "open",
  note: "Deno has one right for both changing and creating a file",
};

/** The kernel says so where a right to move between folders is missing. */
const MOVED: More = { refusal: /cross-device link|errno 18/ };

/** SQLite says no more about a file that it may not open. */
const SQLITE: More = {
  refusal:
    /^unable to open database|^too many attached databases - max 0|^attempt to write a readonly database/,
};

/** O_TMPFILE of fcntl.h: a new file without a name. */
const O_DIRECTORY = Deno.build.arch === "x86_64" ? 0x10000 : 0x4000;
const O_TMPFILE = 0x400000 | O_DIRECTORY;
/** Neither reading nor writing, but more than O_PATH: what LILO once needed for ioctl(2). */
const O_ACCMODE = 3;
const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND } = fs.constants;

/** Times that no file here has. */
const LONG_AGO = new Date(0);
/** utimensat(2) takes two of struct timespec; all 0 is the same as above. */
const TIMES = 32;

/** A group that no file here is of. */
const OTHER = 1;

const S_IFCHR = 0x2000;
const S_IFSOCK = 0xc000;
const S_IFIFO = 0x1000;
const S_IFREG = 0x8000;

function opens(path: string, flags: number | string): void {
  fs.closeSync(fs.openSync(path, flags));
}

/** Opens natively, and closes. */
function opensNatively(path: string, flags: number): number {
  const fd = must("openat", AT_FDCWD, path, flags, 0o600);
  must("close", fd);
  return fd;
}

export const WRITING: readonly Attempt[] = [
  // What each interface does to a file and a folder outside.
  ...([
    ["write", "Deno.writeTextFile of a file", ({ outside }) => {
      Deno.writeTextFileSync(`${outside}/file.txt`, "changed");
    }],
    ["create", "Deno.writeTextFile of a new file", ({ outside }) => {
      Deno.writeTextFileSync(`${outside}/new.txt`, "new");
    }],
    ["append", "appending to a file", ({ outside }) => {
      Deno.writeTextFileSync(`${outside}/file.txt`, "more", { append: true });
    }],
    ["truncate", "Deno.truncate of a file", ({ outside }) => {
      Deno.truncateSync(`${outside}/file.txt`);
    }],
    ["open", "Deno.open of a file for writing", ({ outside }) => {
      using file = Deno.openSync(`${outside}/file.txt`, { write: true });
      file.writeSync(new Uint8Array(1));
    }],
    ["rename", "Deno.rename of a file", ({ outside }) => {
      Deno.renameSync(`${outside}/file.txt`, `${outside}/moved.txt`);
    }],
    ["remove", "Deno.remove of a file", ({ outside }) => Deno.removeSync(`${outside}/file.txt`)],
    ["remove_all", "Deno.remove of a folder with all in it", ({ outside }) => {
      Deno.removeSync(`${outside}/folder`, { recursive: true });
    }],
    ["mkdir", "Deno.mkdir of a folder", ({ outside }) => Deno.mkdirSync(`${outside}/new`)],
    ["stream", "a stream to a file", async ({ outside }) => {
      await new Blob(["changed"]).stream().pipeTo(
        (await Deno.open(`${outside}/file.txt`, { write: true, truncate: true })).writable,
      );
    }],
    ["url", "a write by a file URL", ({ outside }) => {
      Deno.writeTextFileSync(pathToFileURL(`${outside}/file.txt`), "changed");
    }],
    ["dots", "a write by ..", ({ inside }) => {
      Deno.writeTextFileSync(`${inside}/../outside/file.txt`, "changed");
    }],
    ["twin", "a write to a folder whose name begins like an unveiled one", ({ twin }) => {
      Deno.writeTextFileSync(`${twin}/secret.txt`, "changed");
    }],
    ["beside", "a new file beside the unveiled folder", ({ inside, nonce }) => {
      const path = `${inside}-${nonce}`;
      Deno.writeTextFileSync(path, "new");
      Deno.removeSync(path);
    }],
    ["web_worker", "a write in a Web Worker", async ({ outside }) => {
      await inWebWorker((path) => Deno.writeTextFile(path, "changed"), `${outside}/file.txt`);
    }],
    ["node_write", "fs.writeFileSync of a file", ({ outside }) => {
      fs.writeFileSync(`${outside}/file.txt`, "changed");
    }],
    ["node_callback", "fs.writeFile of a file", ({ outside }) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      fs.writeFile(`${outside}/file.txt`, "changed", (error) => error ? reject(error) : resolve());
      return promise;
    }],
    ["node_promise", "fs.promises.writeFile of a file", ({ outside }) => {
      return fs.promises.writeFile(`${outside}/file.txt`, "changed");
    }],
    ["node_handle", "a handle of fs.promises.open", async ({ outside }) => {
      await using file = await fs.promises.open(`${outside}/file.txt`, "r+");
      await file.truncate(1);
    }],
    ["node_stream", "fs.createWriteStream to a file", ({ outside }) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const stream = fs.createWriteStream(`${outside}/file.txt`);
      stream.on("error", reject);
      stream.end("changed", (error?: Error | null) => error ? reject(error) : resolve());
      return promise;
    }],
    ["node_bytes", "fs.writeFileSync by a path of bytes", ({ outside }) => {
      fs.writeFileSync(Buffer.from(`${outside}/file.txt`), "changed");
    }],
    ["node_append", "fs.appendFileSync to a file", ({ outside }) => {
      fs.appendFileSync(`${outside}/file.txt`, "more");
    }],
    ["node_truncate", "fs.truncateSync of a file", ({ outside }) => {
      fs.truncateSync(`${outside}/file.txt`);
    }],
    ["node_rename", "fs.renameSync of a file", ({ outside }) => {
      fs.renameSync(`${outside}/file.txt`, `${outside}/moved.txt`);
    }],
    ["node_unlink", "fs.unlinkSync of a file", ({ outside }) => {
      fs.unlinkSync(`${outside}/file.txt`);
    }],
    ["node_rm", "fs.rmSync of a folder with all in it", ({ outside }) => {
      fs.rmSync(`${outside}/folder`, { recursive: true });
    }],
    ["node_mkdir", "fs.mkdirSync of a chain of folders", ({ outside }) => {
      fs.mkdirSync(`${outside}/new/folder`, { recursive: true });
    }],
  ] satisfies [string, string, Attempt["run"]][]).map(([name, title, run]) =>
    change(
      `FW1.${name}`,
      `${title} outside`,
      run,
      // Deno trips over its own words when the kernel refuses a path of bytes.
      name === "node_bytes" ? { refusal: /^String\.prototype\.toString requires/ } : {},
    )
  ),
  change("FW1.native_open", "open(2) outside for writing, emptying it", ({ outside }) => {
    opensNatively(`${outside}/file.txt`, O_WRONLY | O_TRUNC);
  }),
  change("FW1.native_create", "open(2) outside of a new file", ({ outside }) => {
    opensNatively(`${outside}/new.txt`, O_WRONLY | O_CREAT);
  }),
  native("FW1.native_truncate", "truncate(2) outside", "truncate", ({ outside }) => {
    return [`${outside}/file.txt`, 0];
  }),
  native("FW1.native_unlink", "unlinkat(2) outside", "unlinkat", ({ outside }) => {
    return [AT_FDCWD, `${outside}/file.txt`, 0];
  }),
  native("FW1.native_mkdir", "mkdirat(2) outside", "mkdirat", ({ outside }) => {
    return [AT_FDCWD, `${outside}/new`, 0o700];
  }),
  native("FW1.native_exchange", "two files outside swapped", "renameat2", ({ outside }) => {
    const [one, two] = [`${outside}/file.txt`, `${outside}/secret.txt`];
    return [AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE];
  }, MOVED),
  native("FW1.native_link", "a second name outside", "linkat", ({ outside }) => {
    return [AT_FDCWD, `${outside}/file.txt`, AT_FDCWD, `${outside}/new.txt`, 0];
  }, MOVED),
  native("FW1.native_symlink", "a link outside", "symlinkat", ({ outside }) => {
    return ["/", AT_FDCWD, `${outside}/new`];
  }),

  // A folder that may only be read.
  ...([
    ["write", "writing a file", ({ readable }) => {
      Deno.writeTextFileSync(`${readable}/file.txt`, "changed");
    }],
    ["create", "a new file", ({ readable }) => {
      Deno.writeTextFileSync(`${readable}/new.txt`, "new");
    }],
    ["remove", "removing a file", ({ readable }) => Deno.removeSync(`${readable}/file.txt`)],
    ["rename", "renaming a file", ({ readable }) => {
      Deno.renameSync(`${readable}/file.txt`, `${readable}/moved.txt`);
    }],
    ["mkdir", "a new folder", ({ readable }) => Deno.mkdirSync(`${readable}/new`)],
    ["steal", "moving a file to where everything is allowed", ({ readable, inside, nonce }) => {
      Deno.renameSync(`${readable}/file.txt`, `${inside}/${nonce}`);
    }],
    ["replace", "moving a file in from where everything is allowed", (world) => {
      const path = `${world.inside}/${world.nonce}`;
      Deno.writeTextFileSync(path, "replaced");
      Deno.renameSync(path, `${world.readable}/file.txt`);
    }],
    ["node_write", "fs.writeFileSync of a file", ({ readable }) => {
      fs.writeFileSync(`${readable}/file.txt`, "changed");
    }],
    ["database", "making a SQLite database", ({ readable }) => {
      using database = new DatabaseSync(`${readable}/new.db`);
      database.exec("CREATE TABLE planted (text)");
    }],
  ] satisfies [string, string, Attempt["run"]][]).map(([name, title, run]) =>
    change(`FW2.${name}`, `${title} in a folder that may only be read`, run, {
      ...MOVED,
      ...name === "database" && SQLITE,
    })
  ),
  change(
    "FW2.reopen",
    "opening for writing, by its descriptor, what was opened to read",
    (world) => {
      const fd = fs.openSync(`${world.readable}/file.txt`, "r");
      try {
        fs.writeFileSync(`/proc/self/fd/${fd}`, "changed");
      } finally {
        fs.closeSync(fd);
      }
    },
  ),
  change("FW2.native_reopen", "the same by system calls", ({ readable }) => {
    const fd = must("openat", AT_FDCWD, `${readable}/file.txt`, O_RDONLY, 0);
    try {
      opensNatively(`/proc/self/fd/${fd}`, O_WRONLY | O_TRUNC);
    } finally {
      must("close", fd);
    }
  }),
  change("FW2.native_link", "a second name, where everything is allowed", (world) => {
    const path = `${world.inside}/${world.nonce}`;
    must("linkat", AT_FDCWD, `${world.readable}/file.txt`, AT_FDCWD, path, 0);
    fs.writeFileSync(path, "changed");
  }, MOVED),
  claim("FW2.lock", "locking for others a file that may only be read", ({ readable }) => {
    using file = Deno.openSync(`${readable}/file.txt`);
    file.lockSync(true);
    file.unlockSync();
    return true;
  }, {
    deno: "contained",
    kernel: "contained",
    note: "a lock only affects programs that ask for it, and ends with the worker",
  }),

  // To write is not to create, and the other way round.
  change("FW3.create", "creating where existing files may be written", ({ writable }) => {
    Deno.writeTextFileSync(`${writable}/new.txt`, "new");
  }, MERGED),
  change("FW3.mkdir", "a new folder where existing files may be written", ({ writable }) => {
    Deno.mkdirSync(`${writable}/new`);
  }, MERGED),
  change("FW3.remove", "removing where existing files may be written", ({ writable }) => {
    Deno.removeSync(`${writable}/file.txt`);
  }, MERGED),
  change("FW3.replace", "moving a file over one that may be written", (world) => {
    const path = `${world.inside}/${world.nonce}`;
    Deno.writeTextFileSync(path, "replaced");
    Deno.renameSync(path, `${world.writable}/file.txt`);
  }, { ...MERGED, ...MOVED }),
  change("FW3.overwrite", "overwriting where files may be created", ({ creatable }) => {
    Deno.writeTextFileSync(`${creatable}/file.txt`, "changed");
  }, MERGED),
  change("FW3.append", "appending where files may be created", ({ creatable }) => {
    fs.appendFileSync(`${creatable}/file.txt`, "more");
  }, MERGED),
  change("FW3.truncate", "emptying where files may be created", ({ creatable }) => {
    Deno.truncateSync(`${creatable}/file.txt`);
  }, MERGED),

  change("FW3.gain", "moving what may only be created to where it may be written", (world) => {
    const path = `${world.inside}/${world.nonce}`;
    Deno.renameSync(`${world.creatable}/file.txt`, path);
    Deno.writeTextFileSync(path, "changed");
  }, MOVED),
  change("FW3.native_gain", "the same by a second name", ({ creatable, inside, nonce }) => {
    must("linkat", AT_FDCWD, `${creatable}/file.txt`, AT_FDCWD, `${inside}/${nonce}`, 0);
    fs.writeFileSync(`${inside}/${nonce}`, "changed");
  }, MOVED),
  change("FW3.lose", "moving a file over one that may only be created", (world) => {
    const path = `${world.inside}/${world.nonce}`;
    Deno.writeTextFileSync(path, "replaced");
    Deno.renameSync(path, `${world.creatable}/file.txt`);
  }, { ...MERGED, kernel: "contained", note: "removing and creating together allow replacing" }),
  claim("FW3.nameless", "a nameless file where nothing may be created", ({ writable }) => {
    return opensNatively(writable, O_TMPFILE | O_WRONLY);
  }, { kernel: "open", note: "it has no name, cannot get one, and ends with its descriptor" }),
  change("FW3.named", "giving a name to a nameless file", ({ writable }) => {
    const fd = must("openat", AT_FDCWD, writable, O_TMPFILE | O_WRONLY, 0o600);
    try {
      must("linkat", fd, "", AT_FDCWD, `${writable}/new.txt`, AT_EMPTY_PATH);
    } finally {
      must("close", fd);
    }
  }, { ...MOVED, needs: "root" }),

  // Temporary files.
  change("FW4.node_prefix", "fs.mkdtemp whose prefix leads outside", ({ inside }) => {
    fs.mkdtempSync(`${inside}/../outside/`);
  }, { note: "CVE-2024-27931" }),
  change("FW4.dir", "a temporary folder outside", ({ outside }) => {
    Deno.makeTempDirSync({ dir: outside });
  }),
  claim("FW4.system", "a temporary file in the system's folder for such", () => {
    const path = Deno.makeTempFileSync({ prefix: "holdfast_audit_" });
    Deno.removeSync(path);
    return path;
  }),
  change("FW4.variable", "the system's folder for such, moved by TMPDIR", ({ outside }) => {
    process.env.TMPDIR = outside;
    return Deno.makeTempFileSync();
  }, { alone: true }),

  // Through links that are there already.
  ...([
    ["write", "writing", ({ inside }) => {
      Deno.writeTextFileSync(`${inside}/write_link`, "changed");
    }],
    ["node_write", "fs.writeFileSync", ({ inside }) => {
      fs.writeFileSync(`${inside}/write_link`, "changed");
    }],
    ["node_truncate", "fs.truncateSync", ({ inside }) => fs.truncateSync(`${inside}/write_link`)],
    ["create", "creating", ({ inside }) => {
      Deno.writeTextFileSync(`${inside}/folder_link/new.txt`, "new");
    }],
    ["mkdir", "a new folder", ({ inside }) => Deno.mkdirSync(`${inside}/folder_link/new`)],
    ["remove", "removing", ({ inside }) => Deno.removeSync(`${inside}/folder_link/file.txt`)],
    ["rm", "fs.rmSync of a folder", ({ inside }) => {
      fs.rmSync(`${inside}/folder_link/folder`, { recursive: true });
    }],
    ["rename", "renaming", ({ inside }) => {
      Deno.renameSync(`${inside}/folder_link/file.txt`, `${inside}/folder_link/moved.txt`);
    }],
    ["copy", "Deno.copyFile", ({ inside }) => {
      Deno.copyFileSync(`${inside}/file.txt`, `${inside}/write_link`);
    }],
    ["temporary", "a temporary file", ({ inside }) => {
      Deno.makeTempFileSync({ dir: `${inside}/folder_link` });
    }],
    ["chmod", "Deno.chmod", ({ inside }) => Deno.chmodSync(`${inside}/write_link`, 0o600)],
    ["utime", "Deno.utime", ({ inside }) => {
      Deno.utimeSync(`${inside}/write_link`, LONG_AGO, LONG_AGO);
    }],
    ["database", "a new SQLite database", ({ inside }) => {
      using database = new DatabaseSync(`${inside}/folder_link/new.db`);
      database.exec("CREATE TABLE planted (text)");
    }],
  ] satisfies [string, string, Attempt["run"]][]).map(([name, title, run]) =>
    change(`FW5.${name}`, `${title} through a link that leads outside`, run, {
      ...THROUGH_LINK,
      ...name === "database" && SQLITE,
    })
  ),
  change("FW5.native", "open(2) through a link that leads outside", ({ inside }) => {
    opensNatively(`${inside}/write_link`, O_WRONLY | O_TRUNC);
  }),

  // What a file says about itself: not Landlock's, so seccomp's.
  change("FW6.handle", "the times of a file, by a handle for reading", ({ readable }) => {
    using file = Deno.openSync(`${readable}/file.txt`);
    file.utimeSync(LONG_AGO, LONG_AGO);
  }, { note: "CVE-2025-61785" }),
  change("FW6.node", "fs.futimesSync of a descriptor for reading", ({ readable }) => {
    const fd = fs.openSync(`${readable}/file.txt`, "r");
    try {
      fs.futimesSync(fd, LONG_AGO, LONG_AGO);
    } finally {
      fs.closeSync(fd);
    }
  }, { deno: "open", note: "fs.futimes checks no permission, unlike Deno's own; CVE-2025-61785" }),
  change("FW6.native", "utimensat(2) of a descriptor for reading", ({ readable }) => {
    const fd = must("openat", AT_FDCWD, `${readable}/file.txt`, O_RDONLY, 0);
    try {
      must("utimensat", fd, 0, new Uint8Array(TIMES), 0);
    } finally {
      must("close", fd);
    }
  }),
  ...([
    ["chmod", "Deno.chmod", (path) => Deno.chmodSync(path, 0o600)],
    ["utime", "Deno.utime", (path) => Deno.utimeSync(path, LONG_AGO, LONG_AGO)],
    ["chown", "Deno.chown", (path) => Deno.chownSync(path, 0, OTHER), { needs: "root" }],
    ["node_chmod", "fs.chmodSync", (path) => fs.chmodSync(path, 0o600)],
    ["node_utimes", "fs.utimesSync", (path) => fs.utimesSync(path, LONG_AGO, LONG_AGO)],
    ["node_lutimes", "fs.lutimesSync", (path) => fs.lutimesSync(path, LONG_AGO, LONG_AGO)],
    ["node_chown", "fs.chownSync", (path) => fs.chownSync(path, 0, OTHER), { needs: "root" }],
    ["node_lchown", "fs.lchownSync", (path) => fs.lchownSync(path, 0, OTHER), { needs: "root" }],
    ["native_chmod", "fchmodat(2)", (path) => must("fchmodat", AT_FDCWD, path, 0o600)],
    ["native_utimes", "utimensat(2)", (path) => {
      return must("utimensat", AT_FDCWD, path, new Uint8Array(TIMES), 0);
    }],
    ["native_chown", "fchownat(2)", (path) => {
      return must("fchownat", AT_FDCWD, path, -1, OTHER, 0);
    }, { needs: "root" }],
  ] satisfies [string, string, (path: string) => unknown, More?][]).flatMap(
    ([name, title, run, more = {}]) => [
      change(`FW8.${name}`, `${title} of a file outside`, ({ outside }) => {
        run(`${outside}/file.txt`);
      }, more),
      change(`FW8.${name}_readable`, `${title} of a file that may only be read`, (world) => {
        run(`${world.readable}/file.txt`);
      }, more),
    ],
  ),
  change("FW8.descriptor", "fs.fchmodSync of a descriptor for reading", ({ readable }) => {
    const fd = fs.openSync(`${readable}/file.txt`, "r");
    try {
      fs.fchmodSync(fd, 0o600);
    } finally {
      fs.closeSync(fd);
    }
    insistOnMode(`${readable}/file.txt`, 0o600);
  }, { deno: "open", note: "fs.fchmod checks no permission, unlike Deno's own" }),
  change("FW8.descriptor_chown", "fs.fchownSync of a descriptor for reading", ({ readable }) => {
    const fd = fs.openSync(`${readable}/file.txt`, "r");
    try {
      fs.fchownSync(fd, 0, OTHER);
    } finally {
      fs.closeSync(fd);
    }
  }, { deno: "open", note: "fs.fchown checks no permission, unlike Deno's own", needs: "root" }),
  change("FW8.native_descriptor", "fchmod(2) of a descriptor for reading", ({ readable }) => {
    const fd = must("openat", AT_FDCWD, `${readable}/file.txt`, O_RDONLY, 0);
    try {
      must("fchmod", fd, 0o600);
    } finally {
      must("close", fd);
    }
    insistOnMode(`${readable}/file.txt`, 0o600);
  }),
  change("FW8.copy_mode", "Deno.copyFile as a way to set a file's mode", (world) => {
    Deno.copyFileSync(`${world.inside}/file.txt`, `${world.readable}/file.txt`);
  }),

  probe("FW9.setxattr", "an attribute of a file outside", "setxattr", ({ outside }) => {
    return [`${outside}/file.txt`, "user.audit", "1", 1, 0];
  }),
  probe("FW9.fsetxattr", "an attribute of an open file", "fsetxattr", () => {
    return [-1, "user.audit", "1", 1, 0];
  }),
  probe("FW9.removexattr", "removing an attribute", "removexattr", ({ outside }) => {
    return [`${outside}/file.txt`, "user.audit"];
  }),
  probe("FW9.flags", "the flags of an open file", "ioctl", () => [-1, FS_IOC_SETFLAGS, 0]),
  probe("FW9.project", "the project of an open file", "ioctl", () => [-1, FS_IOC_FSSETXATTR, 0]),
  claim("FW9.version", "the version of a file outside, by a descriptor without rights", (world) => {
    const fd = must("openat", AT_FDCWD, `${world.outside}/file.txt`, O_ACCMODE, 0);
    try {
      return reaches("ioctl", fd, FS_IOC_SETVERSION, new Uint8Array(8));
    } finally {
      must("close", fd);
    }
  }),
  probe("FW9.verity", "sealing an open file for ever", "ioctl", () => {
    return [-1, FS_IOC_ENABLE_VERITY, 0];
  }),
  probe("FW9.encryption", "setting how an open folder is encrypted", "ioctl", () => {
    return [-1, FS_IOC_SET_ENCRYPTION_POLICY, 0];
  }),
  probe("FW9.snapshot", "a snapshot of a folder", "ioctl", () => {
    return [-1, BTRFS_IOC_SNAP_CREATE, 0];
  }),
  probe("FW9.lease", "a lease on an open file", "fcntl", () => [-1, F_SETLEASE, 0]),

  // Flags of open(2) that no interface of Deno's own can express.
  ...([
    ["create", "O_RDONLY | O_CREAT", O_RDONLY | O_CREAT, "new.txt"],
    ["create_append", "O_APPEND | O_CREAT", O_APPEND | O_CREAT, "new.txt"],
    ["create_both", "O_RDWR | O_CREAT", O_RDWR | O_CREAT, "new.txt"],
    ["append", "as+", "as+", "new.txt"],
  ] as const).flatMap(([name, title, flags, file]) => [
    change(`FW10.${name}`, `fs.openSync with ${title} where one may only read`, (world) => {
      opens(`${world.readable}/${file}`, flags);
    }),
    change(`FW10.${name}_outside`, `fs.openSync with ${title} outside`, ({ outside }) => {
      opens(`${outside}/${file}`, flags);
    }),
  ]),
  claim("FW10.nameless", "fs.openSync of a nameless file where one may only read", (world) => {
    opens(world.readable, O_TMPFILE | O_WRONLY);
    return true;
  }),
  claim("FW10.native_nameless", "the same by open(2)", ({ readable }) => {
    return opensNatively(readable, O_TMPFILE | O_WRONLY);
  }),
  change("FW10.native_truncate", "open(2) with O_RDONLY | O_TRUNC", ({ readable }) => {
    opensNatively(`${readable}/file.txt`, O_RDONLY | O_TRUNC);
  }),
  change("FW10.native_create", "open(2) with O_RDONLY | O_CREAT", ({ readable }) => {
    opensNatively(`${readable}/new.txt`, O_RDONLY | O_CREAT);
  }),
  claim("FW10.native_access_mode", "open(2) outside with both access bits", ({ outside }) => {
    return opensNatively(`${outside}/file.txt`, O_ACCMODE);
  }, {
    kernel: "open",
    note:
      "the descriptor can neither read nor write, so Landlock has nothing to rule; ioctl(2) takes it",
  }),

  change("FW11.heap", "v8.writeHeapSnapshot outside", ({ outside }) => {
    v8.writeHeapSnapshot(`${outside}/new.heapsnapshot`);
  }),

  ...(["outside", "readable"] as const).flatMap((folder) => [
    change(`FW12.${folder}`, `Deno.listen on a new socket in ${folder}`, (world) => {
      Deno.listen({ transport: "unix", path: `${world[folder]}/new.sock` }).close();
    }),
    change(`FW12.${folder}_node`, `node:net on a new socket in ${folder}`, (world) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const server = net.createServer();
      server.on("error", reject);
      server.listen(`${world[folder]}/new.sock`, resolve);
      return promise.finally(() => server.close());
    }),
  ]),

  // Traps for whoever walks an app's folder.
  ...([
    ["fifo", "a named pipe", S_IFIFO],
    ["socket", "a socket", S_IFSOCK],
    ["device", "a device", S_IFCHR],
    ["file", "a file by mknod(2)", S_IFREG],
  ] as const).map(([name, title, kind]) =>
    claim(`FW13.${name}`, `${title} in a folder of the app's own`, ({ inside, nonce }) => {
      const path = `${inside}/${nonce}`;
      // Device 1, 3 is /dev/null.
      must("mknodat", AT_FDCWD, path, kind | 0o600, kind === S_IFCHR ? 0x103 : 0);
      Deno.removeSync(path);
      return true;
    }, kind === S_IFCHR ? { needs: "root" } : {})
  ),
  claim("FW13.link", "a link in a folder of the app's own", ({ inside, nonce, configFile }) => {
    const path = `${inside}/${nonce}`;
    Deno.symlinkSync(configFile, path);
    Deno.removeSync(path);
    return true;
  }),
  claim("FW13.listen", "a listening socket in a folder of the app's own", ({ inside, nonce }) => {
    Deno.listen({ transport: "unix", path: `${inside}/${nonce}.sock` }).close();
    return true;
  }),

  claim("FW14.remove", "removing an unveiled folder itself", ({ creatable }) => {
    Deno.removeSync(`${creatable}/file.txt`);
    Deno.removeSync(creatable);
    return true;
  }, { ...MERGED, note: "Deno's rights on a folder include the folder" }),
  change("FW14.remove_all", "removing an unveiled folder with all in it", ({ writable }) => {
    Deno.removeSync(writable, { recursive: true });
  }, MERGED),
  change("FW14.rename", "renaming an unveiled folder", ({ inside, folder, nonce }) => {
    Deno.renameSync(inside, `${folder}/${nonce}`);
    Deno.renameSync(`${folder}/${nonce}`, inside);
  }, { alone: true, ...MOVED }),
  change("FW14.exchange", "swapping an unveiled folder for another", ({ creatable, outside }) => {
    must("renameat2", AT_FDCWD, creatable, AT_FDCWD, outside, RENAME_EXCHANGE);
    must("renameat2", AT_FDCWD, creatable, AT_FDCWD, outside, RENAME_EXCHANGE);
  }, MOVED),
  change("FW14.move_in", "moving an unveiled folder into another", (world) => {
    const path = `${world.inside}/${world.nonce}`;
    Deno.renameSync(world.creatable, path);
    Deno.renameSync(path, world.creatable);
  }, MOVED),

  claim("FW16.umask", "Deno.umask", () => {
    const before = Deno.umask(0o077);
    Deno.umask(before);
    return true;
  }, { kernel: "open", note: "it concerns only files that the app makes itself" }),
  claim("FW16.node_umask", "process.umask", () => {
    const before = process.umask(0o077);
    process.umask(before);
    return true;
  }, { kernel: "open", note: "it concerns only files that the app makes itself" }),

  claim("FW19.file", "a file that runs as its owner", ({ inside, nonce }) => {
    return makes("openat", AT_FDCWD, `${inside}/${nonce}`, O_CREAT | O_WRONLY, 0o4755);
  }),
  claim("FW19.folder", "a folder that gives its group on", ({ inside, nonce }) => {
    return makes("mkdirat", AT_FDCWD, `${inside}/${nonce}`, 0o2777);
  }),
  claim("FW19.hidden_mode", "openat2(2), whose mode no filter sees", ({ inside }) => {
    const size = 24;
    return reaches("openat2", AT_FDCWD, `${inside}/file.txt`, 0, size);
  }),

  change("FW17.copy", "Deno.copyFile over a file outside", ({ inside, outside }) => {
    Deno.copyFileSync(`${inside}/file.txt`, `${outside}/file.txt`);
  }),
  change("FW17.node_copy", "fs.copyFileSync over a file outside", ({ inside, outside }) => {
    fs.copyFileSync(`${inside}/file.txt`, `${outside}/file.txt`, fs.constants.COPYFILE_FICLONE);
  }),
  change("FW17.cp", "fs.cpSync of a folder to the outside", ({ readable, outside }) => {
    fs.cpSync(readable, outside, { recursive: true, force: true });
  }),
  change("FW17.rename", "Deno.rename over a file outside", ({ inside, outside, nonce }) => {
    Deno.writeTextFileSync(`${inside}/${nonce}`, "replaced");
    Deno.renameSync(`${inside}/${nonce}`, `${outside}/file.txt`);
  }, MOVED),
  change("FW17.native_rename", "renameat2(2) over a file outside", ({ inside, outside, nonce }) => {
    fs.writeFileSync(`${inside}/${nonce}`, "replaced");
    must("renameat2", AT_FDCWD, `${inside}/${nonce}`, AT_FDCWD, `${outside}/file.txt`, 0);
  }, MOVED),
  change("FW17.folder_rename", "moving a folder of the app's own outside", (world) => {
    Deno.mkdirSync(`${world.inside}/${world.nonce}`);
    Deno.renameSync(`${world.inside}/${world.nonce}`, `${world.outside}/planted`);
  }, MOVED),
  change("FW17.link", "a name outside for a file of the app's own", ({ inside, outside }) => {
    Deno.linkSync(`${inside}/file.txt`, `${outside}/planted`);
  }, MOVED),

  claim("FW18.output", "opening standard output by its path", () => {
    opens("/dev/stdout", O_WRONLY);
    return true;
  }, {
    kernel: "open",
    note: "Landlock does not rule pipes; this one belongs to the process",
  }),
  claim("FW18.terminal", "a new terminal", () => {
    opens("/dev/ptmx", O_RDWR);
    return true;
  }),
  claim("FW18.memory", "a file in the machine's shared memory", ({ nonce }) => {
    const path = `/dev/shm/holdfast_audit_${nonce}`;
    fs.writeFileSync(path, "");
    fs.rmSync(path);
    return true;
  }),
  claim("FW18.device", "opening a device for writing", () => {
    opens("/dev/full", O_WRONLY);
    return true;
  }),
  claim("FW18.sysctl", "opening a setting of the kernel for writing", () => {
    opens("/proc/self/oom_score_adj", O_WRONLY);
    return true;
  }),
  probe("FW18.type", "typing into the terminal", "ioctl", () => [-1, TIOCSTI, 0]),
  probe("FW18.paste", "pasting into the console", "ioctl", () => [-1, TIOCLINUX, 0]),

  change("FW20.database", "a SQLite database outside", ({ outside }) => {
    using database = new DatabaseSync(`${outside}/secret.db`);
    database.exec("DROP TABLE secrets");
  }, SQLITE),
  change("FW20.new", "a new SQLite database outside", ({ outside }) => {
    using database = new DatabaseSync(`${outside}/new.db`);
    database.exec("CREATE TABLE planted (text)");
  }, SQLITE),
  change("FW20.vacuum", "VACUUM INTO a file outside", ({ outside }) => {
    using database = new DatabaseSync(":memory:");
    database.exec(`CREATE TABLE planted (text); VACUUM INTO '${outside}/new.db'`);
  }, SQLITE),
  change("FW20.attach", "ATTACH of a new file outside", ({ outside }) => {
    using database = new DatabaseSync(":memory:");
    database.exec(`ATTACH '${outside}/new.db' AS other; CREATE TABLE other.planted (text)`);
  }, SQLITE),
  change("FW20.backup", "a backup of a SQLite database to the outside", async (world) => {
    using database = new DatabaseSync(`${world.inside}/${world.nonce}.db`);
    database.exec("CREATE TABLE planted (text)");
    await backup(database, `${world.outside}/new.db`);
  }, SQLITE),
  ...([
    ["FD2.write", "writing to a path of dropAfterOpen", ({ dropped }) => {
      Deno.writeTextFileSync(`${dropped}/file.txt`, "changed");
    }],
    ["FD2.node", "fs.writeFileSync to a path of dropAfterOpen", ({ dropped }) => {
      fs.writeFileSync(`${dropped}/file.txt`, "changed");
    }],
    ["FD2.native", "open(2) of a path of dropAfterOpen, to empty it", ({ dropped }) => {
      opensNatively(`${dropped}/file.txt`, O_WRONLY | O_TRUNC);
    }],
  ] satisfies [string, string, (world: World) => void][]).map(([id, title, run]) =>
    change(id, title, run, {
      kernel: "open",
      note:
        "what is given up after open() is Deno's layer alone: the kernel's is made at the spawn",
    })
  ),
  change("TM3.write", "writing to another process's temporary folder", ({ otherTemporary }) => {
    Deno.writeTextFileSync(`${otherTemporary}/file.txt`, "changed");
  }),
  change("TM3.native", "open(2) of a file there, to empty it", ({ otherTemporary }) => {
    opensNatively(`${otherTemporary}/file.txt`, O_WRONLY | O_TRUNC);
  }),
  change(
    "TM3.link",
    "writing through a link out of its own temporary folder, made there",
    (world) => {
      const link = `${world.temporary}/${world.nonce}`;
      fs.symlinkSync(`${world.outside}/file.txt`, link);
      fs.writeFileSync(link, "changed");
    },
  ),
  claim("TM3.remove", "removing the temporary folder itself", ({ temporary }) => {
    fs.rmSync(`${temporary}/file.txt`);
    Deno.removeSync(temporary);
    return "removed";
  }, { deno: "open", note: "Deno's right to change what is in a folder is one to the folder too" }),
  change("TM3.rename", "giving the temporary folder another name", ({ temporary }) => {
    fs.renameSync(temporary, `${temporary}_moved`);
  }),
];

/** The mode is changed only if it is seen to be: a layer may say yes and do nothing. */
function insistOnMode(path: string, mode: number): void {
  if ((fs.statSync(path).mode & 0o777) !== mode) throw new Refused("the mode stayed as it was");
}

/** Of linux/fcntl.h. */
const AT_EMPTY_PATH = 0x1000;
const F_SETLEASE = 1024;
/** Of linux/fs.h. */
const RENAME_EXCHANGE = 2;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IOC_FSSETXATTR = 0x401c5820;
const FS_IOC_SETVERSION = 0x40087602;
/** Of linux/fsverity.h, linux/fscrypt.h and linux/btrfs.h. */
const FS_IOC_ENABLE_VERITY = 0x40806685;
const FS_IOC_SET_ENCRYPTION_POLICY = 0x800c6613;
const BTRFS_IOC_SNAP_CREATE = 0x50009401;
/** Of asm-generic/ioctls.h. */
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
