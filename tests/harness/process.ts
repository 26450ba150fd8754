/** Looks at processes through /proc. */

/** The status file of a process as a record, or nothing if it is gone. */
export function readStatus(pid: number): Record<string, string> | undefined {
  try {
    const text = Deno.readTextFileSync(`/proc/${pid}/status`);
    return Object.fromEntries(
      text.trim().split("\n").map((line) => line.split(/:\s*/, 2) as [string, string]),
    );
  } catch {
    return undefined;
  }
}

/** Whether a process is there and no zombie. */
export function isAlive(pid: number): boolean {
  const status = readStatus(pid);
  return status !== undefined && !status["State"]!.startsWith("Z");
}

/** The command line of a process, one element an argument. */
export function readArguments(pid: number): string[] {
  return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").slice(0, -1);
}

/** How many descriptors a process has open. */
export function countDescriptors(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

/** How many sockets a process has open; of a worker's, all but a few are its clients'. */
export function countSockets(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].filter(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`).startsWith("socket:");
    } catch {
      return false; // It was closed while we looked.
    }
  }).length;
}

/** The number of the socket that listens on a TCP port of this machine (proc_net_tcp(5)). */
export function listeningInode(port: number): string | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return Deno.readTextFileSync("/proc/net/tcp").split("\n").map((line) => line.trim().split(/\s+/))
    .find((row) => row[1]?.endsWith(`:${hex}`) && row[3] === "0A")?.[9];
}

/** Whether a process has the socket that listens on a TCP port of this machine. */
export function holdsListener(pid: number, port: number): boolean {
  const socket = `socket:[${listeningInode(port)}]`;
  try {
    return [...Deno.readDirSync(`/proc/${pid}/fd`)].some(({ name }) => {
      try {
        return Deno.readLinkSync(`/proc/${pid}/fd/${name}`) === socket;
      } catch {
        return false; // It was closed while we looked.
      }
    });
  } catch {
    return false; // The process is gone.
  }
}

/** Whether a process is a worker. */
export function isWorker(pid: number): boolean {
  try {
    return readArguments(pid).includes("--ext=js");
  } catch {
    return false; // It went away while we looked.
  }
}

/** The processes whose working folder is `folder` or inside it. */
export function processesIn(folder: string): number[] {
  const found: number[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === Deno.pid) continue;
    try {
      const cwd = Deno.readLinkSync(`/proc/${name}/cwd`);
      if (cwd === folder || cwd.startsWith(`${folder}/`)) found.push(Number(name));
    } catch {
      // It went away while we looked.
    }
  }
  return found;
}

/** The planners of a runtime folder below a folder, which they are told. */
export function plannersOf(folder: string): number[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => {
    try {
      const words = readArguments(pid);
      return words.at(-2) === "-" && words.at(-1)!.startsWith(`${folder}/`);
    } catch {
      return false; // It is no process, or is gone.
    }
  });
}

/** How much processor time a process has used, in clock ticks (proc_pid_stat(5)). */
export function ticksOf(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const [user, system] = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return Number(user) + Number(system);
}
