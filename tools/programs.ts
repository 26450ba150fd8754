/** The programs that tests call, and the Debian packages that bring them: one list for tests and setup. */

/** The package of each program. Node.js with npx is what brings Deno, and is not in it. */
export const PROGRAMS = {
  "apt-get": "apt",
  bash: "bash",
  bwrap: "bubblewrap",
  busybox: "busybox-static",
  caddy: "caddy",
  chroot: "coreutils",
  chromium: "chromium",
  curl: "curl",
  "dpkg-deb": "dpkg",
  fish: "fish",
  gcc: "gcc",
  h2load: "nghttp2-client",
  haproxy: "haproxy",
  ip: "iproute2",
  logrotate: "logrotate",
  mandoc: "mandoc",
  nginx: "nginx-light",
  npm: "npm",
  nsenter: "util-linux",
  openssl: "openssl",
  pebble: "pebble",
  "pebble-challtestsrv": "pebble",
  promtool: "prometheus",
  ps: "procps",
  psql: "postgresql",
  python3: "python3",
  script: "bsdutils",
  setpriv: "util-linux",
  strace: "strace",
  "systemd-analyze": "systemd",
  tar: "tar",
  unshare: "util-linux",
  zsh: "zsh",
} as const;

/** Programs that Debian has not, and the packages that `deno task setup conformance` makes them with. */
export const BUILT_PROGRAMS = {
  h2spec: "golang-go",
  sslyze: "python3-venv",
} as const;

export type ProgramName = keyof typeof PROGRAMS | keyof typeof BUILT_PROGRAMS;

/** What brings a program, in words. */
export function howToInstall(program: ProgramName): string {
  if (program in BUILT_PROGRAMS) return "deno task setup conformance";
  return `deno task setup installs ${PROGRAMS[program as keyof typeof PROGRAMS]}`;
}

/** Whether a program is in the PATH. */
export function hasProgram(name: string): boolean {
  // Debian has programs for root alone in folders that not every PATH names.
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/sbin"];
  return folders.some((folder) => {
    try {
      return Deno.statSync(`${folder}/${name}`).isFile;
    } catch {
      return false;
    }
  });
}
