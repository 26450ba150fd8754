/**
 * Places of the machine that no process may write, as data: whoever can change one of them decides what
 * root, the system or a login runs, and so leaves the wall.
 */
import { basename, join } from "node:path";
import type { Config } from "./config.ts";
import { covers } from "../base/covers.ts";
import { followPath } from "./paths.ts";

/**
 * How far a rule reaches beside the path itself and every folder above it: `path` no further, `files` to
 * the files right in it, `dotfiles` to what in it has a name with a dot before it, and `tree` to
 * everything below it.
 */
export type Extent = "path" | "files" | "dotfiles" | "tree";

/** A place, or several of a kind. */
interface Places {
  readonly what: string;
  readonly why: string;
  readonly paths: readonly string[];
  readonly extent: Extent;
}

/** One place. */
export type SystemPath = Omit<Places, "paths"> & { readonly path: string };

const LIBRARIES = "the system's libraries";
const LOADED = "every program loads what is written there, the deno program too";
const SETTINGS = "settings of the system";
const DECIDES = "the system, with root's rights, does what is written there";
const PROGRAMS = "the system's programs";
const HOME = "what a login reads";
const LOGS_IN = "a shell or a login with this account does what is written there";

const below = (folder: string, names: string) => names.split(" ").map((name) => join(folder, name));

/** By distributions: what is not there does no harm here. */
const TABLE: readonly Places[] = [
  {
    what: LIBRARIES,
    why: LOADED,
    paths: [
      ...below("/", "lib lib32 lib64 libx32"),
      ...below("/usr", "lib lib32 lib64 libx32 libexec"),
      ...below("/usr/local/lib", "systemd"),
      "/usr/share/ca-certificates",
      "/usr/local/share/ca-certificates",
      ...below("/nix", "store"),
    ],
    extent: "tree",
  },
  { what: LIBRARIES, why: LOADED, paths: below("/usr/local", "lib lib32 lib64"), extent: "files" },
  {
    what: PROGRAMS,
    why: "root runs what is written there",
    paths: [
      ...below("/", "bin sbin boot efi"),
      ...below("/usr", "bin sbin games src"),
      ...below("/usr/local", "bin sbin games"),
      ...below("/opt", "bin"),
      "/snap",
    ],
    extent: "tree",
  },
  {
    // Also passwd, group, shadow, nsswitch.conf, hosts, resolv.conf, ld.so.preload, crontab, profile.
    what: SETTINGS,
    why: DECIDES,
    paths: ["/etc", "/usr/etc", "/usr/local/etc"],
    extent: "files",
  },
  {
    what: SETTINGS,
    why: DECIDES,
    paths: [
      ...below("/etc", "cron.d cron.hourly cron.daily cron.weekly cron.monthly cron.yearly"),
      ...below("/etc", "init init.d rc.d rc0.d rc1.d rc2.d rc3.d rc4.d rc5.d rc6.d rcS.d conf.d"),
      ...below("/etc", "systemd runit sv s6 s6-rc openrc runlevels local.d udev modprobe.d"),
      ...below("/etc", "modules-load.d sysctl.d tmpfiles.d sysusers.d binfmt.d dracut.conf.d"),
      ...below("/etc", "initramfs-tools kernel grub.d default sysconfig environment.d profile.d"),
      ...below("/etc", "bash_completion.d zsh skel ld.so.conf.d alternatives pam.d security"),
      ...below("/etc", "sudoers.d doas.d polkit-1 dbus-1 ssh ssl pki ca-certificates gnupg"),
      ...below("/etc", "apparmor apparmor.d selinux audit iptables nftables firewalld network"),
      ...below(
        "/etc",
        "NetworkManager netplan dhcp ppp wpa_supplicant resolvconf systemd-resolved",
      ),
      ...below("/etc", "apt dpkg yum yum.repos.d dnf zypp pacman.d apk logrotate.d rsyslog.d"),
      ...below("/etc", "logcheck update-motd.d X11 xdg fonts lvm multipath containers docker"),
      ...below("/etc", "containerd kubernetes cni libvirt xen cloud vmware-tools needrestart acpi"),
      ...below("/etc", "nginx apache2 httpd haproxy caddy postfix exim4 php npm deno holdfast"),
      ...below("/usr/share", "dbus-1 polkit-1 initramfs-tools bash-completion zsh perl perl5"),
      ...below("/usr/share", "python3 dpkg pam-configs systemd debconf"),
      ...below("/usr/local/share", "dbus-1 polkit-1 zsh"),
    ],
    extent: "tree",
  },
  {
    what: "what the system keeps",
    why: DECIDES,
    paths: [
      ...below("/var/spool", "cron anacron at incron"),
      ...below("/var/lib", "dpkg apt rpm dnf pacman apk snapd systemd dbus polkit-1 PackageKit"),
      ...below("/var/lib", "NetworkManager dhcp dhcpcd docker containers containerd kubelet"),
      ...below("/var/lib", "rancher etcd libvirt lxc lxd incus machines portables pam ucf cloud"),
      ...below("/var/cache", "apt debconf ldconfig"),
      ...below("/run", "systemd dbus udev docker.sock docker containerd crio podman sshd"),
      ...below("/run", "initramfs sudo NetworkManager resolvconf"),
    ],
    extent: "tree",
  },
  {
    what: "a folder of the system",
    why: "what belongs to others would be writable too, and programs among it",
    paths: [
      ...["/home", "/opt", "/run/user", "/usr", "/usr/local", "/usr/local/share", "/usr/share"],
      ...["/var", ...below("/var", "cache lib log spool")],
    ],
    extent: "path",
  },
];

/** What differs from machine to machine. */
export interface MachinePlaces {
  /** Of those who log in, and of who starts Holdfast. */
  readonly homes: readonly string[];
  /** Further folders in which the loader looks. */
  readonly libraries: readonly string[];
}

/** Every place. */
export function systemPaths({ homes, libraries }: MachinePlaces): SystemPath[] {
  const all: Places[] = [
    ...TABLE,
    { what: LIBRARIES, why: LOADED, paths: libraries, extent: "files" },
    { what: HOME, why: LOGS_IN, paths: homes, extent: "dotfiles" },
    {
      what: HOME,
      why: LOGS_IN,
      paths: homes.map((home) => join(home, "bin")),
      extent: "tree",
    },
  ];
  return all.flatMap(({ paths, ...rule }) => paths.map((path) => ({ ...rule, path })));
}

/** Shells of accounts that nobody logs in to. */
const NO_LOGIN = /(^|\/)(nologin|false|true|sync|halt|shutdown)$/;

/** Homes that several accounts are given, and that are none. */
const NO_HOME = [
  "",
  "/",
  "/dev/null",
  "/nonexistent",
  "/var/empty",
  "/bin",
  "/sbin",
  "/usr",
  "/tmp",
];

/**
 * The homes of a passwd(5) file to which somebody logs in, and root's.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const passwd = "root:x:0:0::/root:/bin/bash\nwww:x:33:33::/srv/www:/usr/sbin/nologin\n";
 * assertEquals(homesOf(passwd), ["/root"]);
 * ```
 */
export function homesOf(passwd: string): string[] {
  return passwd.split("\n").flatMap((line) => {
    const [, , uid, , , home = "", shell = ""] = line.split(":");
    const logsIn = uid === "0" || shell !== "" && !NO_LOGIN.test(shell);
    return logsIn && home.startsWith("/") && !NO_HOME.includes(home) ? [home] : [];
  });
}

/** The folders that an ld.so.conf(5) names. */
export function librariesOf(text: string): string[] {
  return text.split("\n").map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line.startsWith("/"));
}

/** What this machine has. */
export function machinePlaces(): MachinePlaces {
  const read = (path: string) => {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return "";
    }
  };
  const included = () => {
    try {
      return [...Deno.readDirSync("/etc/ld.so.conf.d")].map(({ name }) =>
        `/etc/ld.so.conf.d/${name}`
      );
    } catch {
      return [];
    }
  };
  return {
    homes: [...new Set(["/root", ...homesOf(read("/etc/passwd")), ...ownHome()])],
    libraries: ["/etc/ld.so.conf", ...included()].flatMap((path) => librariesOf(read(path))),
  };
}

/** Without the permission to ask, those of passwd(5) count alone. */
function ownHome(): string[] {
  try {
    const home = Deno.env.get("HOME") ?? "";
    return home.startsWith("/") && !NO_HOME.includes(home) ? [home] : [];
  } catch {
    return [];
  }
}

/** Folders of sockets whose servers act for whoever connects. */
const SOCKET_FOLDERS = [
  ...below("/run", "systemd dbus udev docker containerd crio podman buildkit libvirt lxd incus"),
  ...below("/var/lib", "lxd incus kubelet docker containerd"),
  "/var/snap/lxd",
];

/** Their names, wherever they lie: each user may have such servers too, and an agent with keys. */
const SOCKET_NAMES = [
  /^(docker|podman|containerd|crio|cri-dockerd|buildkitd|snapd|snapd-snap)\.sock(et)?$/,
  /^(system_bus_socket|bus|S\.gpg-agent.*|agent\.\d+)$/,
  /^(libvirt|virt[a-z]+d)-(sock|admin-sock)(-ro)?$/,
];

/**
 * Whether who may talk to a Unix socket may do what the system or a login does.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isSystemSocket("/run/user/1000/docker.sock"), true);
 * assertEquals(isSystemSocket("/run/postgresql/.s.PGSQL.5432"), false);
 * ```
 */
export function isSystemSocket(real: string): boolean {
  return SOCKET_FOLDERS.some((folder) => covers(folder, real)) ||
    SOCKET_NAMES.some((name) => name.test(basename(real)));
}

/** What is nobody's to read but its owner's, whoever unveils it with `r`. */
function secretPaths(homes: readonly string[]): string[] {
  return [
    ...below("/etc", "shadow gshadow shadow- gshadow- ssh ssl/private sudoers sudoers.d"),
    ...homes.flatMap((home) => below(home, ".ssh .gnupg .aws .kube .docker .netrc .npmrc")),
  ];
}

/** The unveils with which an app can read what is nobody's but its owner's. */
export function unveiledSecrets(
  config: Pick<Config, "unveil" | "helpers">,
  { readLink, places }: {
    readonly readLink: (path: string) => string | undefined;
    readonly places: MachinePlaces;
  },
): string[] {
  const secrets = secretPaths(places.homes);
  return [config, ...config.helpers].flatMap(({ unveil }) => unveil)
    .filter(({ path, rights }) => {
      const { real } = followPath(path, readLink);
      return rights.includes("r") &&
        secrets.some((secret) => covers(real, secret) || covers(secret, real));
    }).map(({ path }) => path);
}
