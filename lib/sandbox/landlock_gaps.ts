/** What an ABI of Landlock cannot rule, in words for an operator. */
export function missingIn(abi: number): string[] {
  const missing: [number, string][] = [
    [2, "moving files between folders is refused throughout"],
    [3, "emptying a file that may only be read"],
    [4, "TCP ports"],
    [5, "ioctl on devices"],
    [6, "signals and abstract Unix sockets"],
    [9, "Unix sockets by their paths, of which seccomp lets nobody make one"],
    [10, "ports of datagrams, which are sent only where names are looked up"],
  ];
  return missing.filter(([since]) => abi < since).map(([, what]) => what);
}
