/** The facts of the machine that can be told behind the wall, by the names of Deno's permissions. */
export const SYS_KINDS = [
  ...["hostname", "osUptime", "loadavg", "systemMemoryInfo", "uid", "gid"] as const,
] as const;
