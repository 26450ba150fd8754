/** The files of a service, by their paths. Pure, but for the digests of their marks. */
import { HoldfastError } from "../base/error.ts";
import { marked } from "./mark.ts";
import type { ServicePlan } from "./plan.ts";
import { shellLine, specified, unitWord } from "./quote.ts";
import { serviceUnit } from "./unit.ts";

/** A file, and what it is in words. */
export interface ServiceFile {
  readonly path: string;
  readonly what: string;
  readonly text: string;
}

/** Where the files of a service lie, whether it has them or not; and what they are. */
export function filePaths(name: string) {
  return {
    service: { path: `/etc/systemd/system/${name}.service`, what: "the service" },
    socket: { path: `/etc/systemd/system/${name}.socket`, what: "its sockets" },
    sysusers: { path: `/etc/sysusers.d/${name}.conf`, what: "its user" },
    tmpfiles: { path: `/etc/tmpfiles.d/${name}.conf`, what: "its folders" },
    logrotate: { path: `/etc/logrotate.d/${name}`, what: "the rotation of its logs" },
  } as const;
}

/** Where the system's own files lie, which one of the same name in /etc would replace. */
export function shadowedPaths(name: string): Readonly<Record<string, readonly string[]>> {
  const { service, socket, sysusers, tmpfiles } = filePaths(name);
  const units = ["/usr/local/lib", "/usr/lib", "/lib", "/run"].map((each) =>
    `${each}/systemd/system`
  );
  const kinds = (kind: string) =>
    ["/usr/local/lib", "/usr/lib", "/run"].map((each) => `${each}/${kind}`);
  const lie = (folders: readonly string[], file: string) =>
    folders.map((each) => `${each}/${file}`);
  return {
    [service.path]: [...lie(units, `${name}.service`), `/etc/init.d/${name}`],
    [socket.path]: lie(units, `${name}.socket`),
    [sysusers.path]: lie(kinds("sysusers.d"), `${name}.conf`),
    [tmpfiles.path]: lie(kinds("tmpfiles.d"), `${name}.conf`),
  };
}

/** Whether logrotate, whose paths are patterns, reads a path as it is. */
export function fitsLogrotate(path: string): boolean {
  return !/[*?[\]{}\\"'~]/.test(path);
}

/**
 * All files of a service.
 *
 * @throws {HoldfastError} if its sockets, or a path, cannot be written as a unit
 */
export async function serviceFiles(plan: ServicePlan): Promise<ServiceFile[]> {
  requirePlain(plan);
  const paths = filePaths(plan.name);
  const texts: Partial<Record<keyof typeof paths, string | undefined>> = {
    service: serviceUnit(plan),
    socket: plan.socket ? socketUnit(plan) : undefined,
    sysusers: plan.createsUser ? sysusers(plan) : undefined,
    tmpfiles: tmpfiles(plan),
    logrotate: logrotate(plan),
  };
  const kinds = Object.keys(texts) as (keyof typeof paths)[];
  return await Promise.all(kinds.flatMap((kind) => {
    const text = texts[kind];
    return text === undefined
      ? []
      : [marked(text).then((whole) => ({ ...paths[kind], text: whole }))];
  }));
}

/** A line end would begin another setting, which systemd does as root. */
function requirePlain(plan: ServicePlan): void {
  const { config, start, reopen, reads, writes, addresses, logFolder = "" } = plan;
  const texts = [config, ...start, ...reopen, ...reads, ...writes, logFolder];
  // deno-lint-ignore no-control-regex
  const CONTROL = /[\u0000-\u001f\u007f]/;
  const found = [...texts, ...addresses.map(({ text }) => text)].find((text) =>
    CONTROL.test(text) || !text.isWellFormed()
  );
  if (found === undefined) return;
  throw new HoldfastError(`${JSON.stringify(found)} has a control character`, {
    kind: "environment",
    code: "service_path",
    hint: "Rename the folder or file: a unit could say something else by it",
  });
}

/** The socket unit: the addresses of the config, which Holdfast recognises when they are passed. */
function socketUnit({ name, addresses }: ServicePlan): string {
  const refuse = (message: string, hint: string) =>
    new HoldfastError(message, { kind: "usage", code: "service_socket", hint });
  if (addresses.length === 0) {
    throw refuse(
      "The config has no address that a socket unit could bind",
      'Write addresses in "listen", such as "127.0.0.1:80", or leave --socket out',
    );
  }
  const modes = new Set<number>();
  const lines = addresses.map((each) => {
    if (each.kind === "unix") {
      modes.add(each.mode);
      return `ListenStream=${specified(each.path)}`;
    }
    if (each.host === "localhost") {
      throw refuse(`systemd cannot listen on ${each.text}`, `Write "127.0.0.1:${each.port}"`);
    }
    return `ListenStream=${each.text}`;
  });
  if (modes.size > 1) {
    throw refuse(
      "The Unix sockets of the config have different modes, and a socket unit has one",
      "Give them one mode, or leave --socket out",
    );
  }
  const own = addresses.some((each) => each.kind === "tcp" && each.ipv6Only);
  return [
    "# systemd binds the addresses of the config, before the service starts and while it is down.",
    "[Unit]",
    `Description=Sockets of ${name}`,
    "",
    "[Socket]",
    ...lines,
    ...own ? ["BindIPv6Only=ipv6-only"] : [],
    ...[...modes].map((mode) => `SocketMode=${octal(mode)}`),
    `FileDescriptorName=${name}`,
    "Backlog=511",
    "",
    "[Install]",
    "WantedBy=sockets.target",
    "",
  ].join("\n");
}

function sysusers({ name, user }: ServicePlan): string {
  return `# The user that ${name} runs as.\nu ${user} - "${name}"\n`;
}

/** The folders that it writes: they come back where they are on a disk that a boot empties. */
function tmpfiles({ folders }: ServicePlan): string | undefined {
  const lines = folders.filter(({ safe }) => safe).map(({ path, mode, owner, group }) =>
    `d ${unitWord(path)} ${octal(mode)} ${owner} ${group} -`
  );
  return lines.length === 0 ? undefined : [
    "# The folders that the service writes, where a boot or a cleaner removes them.",
    ...lines,
    "",
  ]
    .join("\n");
}

function logrotate(
  { logFolder, rotates, user, group, reopen, denoDir }: ServicePlan,
): string | undefined {
  if (logFolder === undefined || rotates || !fitsLogrotate(logFolder)) return undefined;
  const become = user === undefined ? [] : ["runuser", "-u", user, "--"];
  const command = shellLine([...become, "env", `DENO_DIR=${denoDir}`, ...reopen]);
  return [
    `"${logFolder}/*.log" {`,
    ...user === undefined ? [] : [`    su ${user} ${group}`],
    "    daily",
    "    maxsize 64M",
    "    rotate 14",
    "    missingok",
    "    notifempty",
    "    # Holdfast creates the new files, and writes to the old ones until it is told to reopen.",
    "    nocreate",
    "    compress",
    "    delaycompress",
    "    sharedscripts",
    "    postrotate",
    `        ${command}`,
    "    endscript",
    "}",
    "",
  ].join("\n");
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}
