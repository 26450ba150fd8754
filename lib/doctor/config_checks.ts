/** Checks of a config, of the files that it names, and of what runs by it. Pure. */
import { shellWord as word } from "../service/quote.ts";
import { type Check, fault, note, ok, or, warning } from "./check.ts";
import type { AddressFacts, Facts } from "./facts.ts";

const config: Check = {
  id: "config",
  title: "Config",
  run: ({ config, refused, problems }) => {
    const others = problems.filter(({ code }) => !OWNERS.includes(code) && !TLS.test(code));
    return or(
      [...refused, ...others].map(({ message, hint }) => fault(message, hint)),
      config?.file ?? "read",
    );
  },
};

/** Codes of problems that are told elsewhere. */
const OWNERS = ["open_to_others"];
const TLS = /^tls_/;

const owners: Check = {
  id: "owners",
  title: "Owners and modes",
  run: ({ config, problems, warnings }) => {
    if (config === undefined) return [];
    const refused = problems.filter(({ code }) => OWNERS.includes(code));
    return or([
      ...refused.map(({ message, hint }) => fault(message, hint)),
      ...warnings.filter(({ event }) => event === "path_open_to_others")
        .map(({ message, hint }) => warning(message, hint)),
    ], "only who may decide what runs, can");
  },
};

const secrets: Check = {
  id: "secrets",
  title: "Secrets",
  run: ({ config, warnings }) =>
    config === undefined ? [] : or(
      warnings.filter(({ event }) => event === "secret_unveiled")
        .map(({ message, hint }) => warning(message, hint)),
      "none is unveiled",
    ),
};

const account: Check = {
  id: "account",
  title: "Accounts",
  run: ({ uid, config, shared, held }) => {
    if (config === undefined) return [];
    if (uid !== 0) {
      return [
        note(
          "All processes are this user's, and share what the kernel keeps for a user",
          "For an account each, start it as root: holdfast service install",
        ),
      ];
    }
    if (config.wall === "deno") {
      return config.account ? [ok(`workers run as ${config.account.user}`)] : [
        fault(
          'Root starts it, with "wall": "deno" and no "user": the app has all of root\'s rights',
          'Set "user" to an account of the app\'s own: useradd --system app',
        ),
      ];
    }
    return or([
      ...shared === undefined ? [] : [warning(shared.message, shared.hint)],
      ...held.map(({ process, path, hint }) =>
        warning(`${process} has no account of its own: ${path} is closed to it`, hint)
      ),
    ], "each process has its own");
  },
};

const folders: Check = {
  id: "folders",
  title: "Unveiled folders",
  run: ({ config, closed, grants, uid }) => {
    if (config === undefined) return [];
    const listed = closed.map(({ path, hint }) =>
      warning(`${path} is unveiled, and closed to whom its process runs as`, hint)
    );
    const own = uid === 0 ? [] : grants.filter(({ exists, mayUse }) => exists && !mayUse);
    return or([
      ...listed,
      ...own.map(({ process, path, rights, owner }) =>
        warning(
          `${path}, unveiled with ${rights} for ${process}, is ${owner}'s and closed to this user`,
          `As root: chown -R ${uid} ${word(path)}; or start Holdfast as its owner`,
        )
      ),
    ], "each can be used as it is granted");
  },
};

/** The longest path of a Unix socket, of which one byte ends it. */
const SOCKET_BYTES = 107;

const runtime: Check = {
  id: "runtime",
  title: "Runtime folder",
  run: ({ runtime, uid, running }) => {
    if (runtime === undefined) return [];
    const { path, exists, isFolder, owner, mayWrite, socketBytes, stalePid } = runtime;
    const another = 'Set "runtime" to a folder of its own, such as /run/holdfast';
    if (socketBytes > SOCKET_BYTES) {
      return [
        fault(
          `The path of its control socket has ${socketBytes} bytes, and the kernel takes ` +
            `${SOCKET_BYTES}: ${path}`,
          'Set "runtime" to a shorter path, such as /run/holdfast',
        ),
      ];
    }
    if (exists && !isFolder) return [fault(`${path} is no folder`, another)];
    if (exists && owner !== uid) {
      const stopped = running === undefined ? "" : "stop that Holdfast first, then ";
      return [
        fault(
          `${path} belongs to uid ${owner}, and this is uid ${uid}: another user has started it`,
          `Run this and start it as that user; or ${stopped}rm -r ${word(path)}`,
        ),
      ];
    }
    if (mayWrite && stalePid !== undefined) {
      return [
        note(
          `Its lock names pid ${stalePid}, and no supervisor answers: one was killed`,
          `The next start takes it over; signal nobody by it until then: rm ${
            word(`${path}/lock`)
          }`,
        ),
      ];
    }
    return mayWrite
      ? [ok(path)]
      : [fault(`${path} cannot be made or written by this user`, another)];
  },
};

const variables: Check = {
  id: "variables",
  title: "Variables",
  run: ({ config, unset, environment }) => {
    if (config === undefined) return [];
    const mode = environment["NODE_ENV"];
    const granted = [config, ...config.helpers].some(({ env }) => env.includes("NODE_ENV"));
    return or([
      ...unset.map(({ process, name, hint }) =>
        warning(`${name} is granted to ${process}, and nothing sets it`, hint)
      ),
      ...granted && mode !== undefined && mode !== "production"
        ? [
          warning(
            `NODE_ENV is ${
              JSON.stringify(mode)
            } and passed on: frameworks tell strangers of errors, ` +
              "and are slow",
            'export NODE_ENV=production, or take it out of "env": it is production then',
          ),
        ]
        : [],
      ...environment["TZ"] !== undefined && !config.env.includes("TZ")
        ? [
          note(
            `TZ is ${environment["TZ"]} and not granted: the app's local time is the machine's`,
            'Add "TZ" to "env"',
          ),
        ]
        : [],
    ], granted ? `NODE_ENV is ${mode ?? "not set"}` : "all are set; NODE_ENV is production");
  },
};

/** By the names of packages: what does the same without code of the machine's own. */
const INSTEAD: Readonly<Record<string, string>> = {
  "better-sqlite3": "node:sqlite, which is part of Deno",
  sqlite3: "node:sqlite, which is part of Deno",
  libsql: "node:sqlite, or @libsql/client/web",
  bcrypt: "npm:bcryptjs",
  argon2: "node:crypto's scrypt, or npm:hash-wasm",
  "@node-rs/argon2": "node:crypto's scrypt, or npm:hash-wasm",
  "@node-rs/bcrypt": "npm:bcryptjs",
  canvas: "a native helper with npm:@napi-rs/canvas",
  sharp: "npm:@imagemagick/magick-wasm in a helper, or a native helper",
  "pg-native": "npm:pg without it",
  libpq: "npm:pg",
  "node-sass": "npm:sass",
  re2: "npm:re2-wasm, or a limit on what is matched",
  snappy: "npm:snappyjs",
  iconv: "npm:iconv-lite",
  "@prisma/client": 'engineType = "client" in the generator, with a driver adapter',
  prisma: 'engineType = "client" in the generator, with a driver adapter',
  "node-expat": "npm:sax",
  xxhash: "npm:xxhash-wasm",
  "@mongodb-js/zstd": "node:zlib, which has zstd",
  kerberos: "npm:mongodb without it",
  leveldown: "node:sqlite, which is part of Deno",
  "classic-level": "node:sqlite, which is part of Deno",
};

/** Of these JavaScript takes over where the addon does not load. */
const OPTIONAL =
  /^(bufferutil|utf-8-validate|cpu-features|ssh2|fsevents|msgpackr-extract|cbor-extract|msgpackr|nan|@parcel\/watcher.*)$/;

/** These are for a build, whose output is what runs. */
const BUILDING =
  /^(esbuild|@esbuild\/.*|rollup|@rollup\/.*|lightningcss.*|@swc\/.*|@tailwindcss\/.*|@next\/swc.*|@biomejs\/.*|@oxc-.*|@rolldown\/.*|rolldown|@unrs\/.*|turbo.*)$/;

const addons: Check = {
  id: "addons",
  title: "Native addons",
  run: ({ config, addons }) => {
    if (config === undefined) return [];
    const isNative = config.helpers.some(({ native }) => native);
    return or(
      addons.map(({ name, file }) => {
        const what = `${name} has ${file}, which no worker loads`;
        if (OPTIONAL.test(name)) return note(`${what}: it works without`);
        if (BUILDING.test(name)) return note(`${what}: it is for a build, whose output runs`);
        const base = name.replace(/^@img\/sharp.*$/, "sharp").replace(
          /^@napi-rs\/canvas.*$/,
          "canvas",
        );
        const instead = Object.hasOwn(INSTEAD, base) ? INSTEAD[base]! : undefined;
        const helper = 'a helper with "native": true, see docs/helpers.md';
        return (isNative ? note : warning)(
          isNative ? `${what}; a native helper does` : what,
          instead === undefined ? `Use ${helper}` : `Use ${instead}; or ${helper}`,
        );
      }),
      "none",
    );
  },
};

function judgeAddress(address: AddressFacts, { firstOpenPort, capabilities, uid }: Facts) {
  const { text, kind, port = 0, user, isOwn, isLeft, isLost, isLocal, inTheWay, folder } = address;
  if (isLost) {
    return [warning(`${text}: its file was removed, and nobody can connect`, "holdfast reload")];
  }
  if (isOwn) return [ok(`${text} is this server's`)];
  if (user !== undefined && isLeft) {
    return [
      note(
        `${text} is held by pid ${user.pid}, left by a supervisor that was killed`,
        "The next start ends it; or kill it: kill -9 " + user.pid,
      ),
    ];
  }
  if (user !== undefined) {
    const { pid, name } = user;
    const who = pid === undefined ? "another process" : `${name ?? "a process"}, pid ${pid}`;
    const see = kind === "tcp"
      ? `ss -ltnp 'sport = :${port}'`
      : `ss -lxp src ${word(text.slice(5))}`;
    return [
      fault(
        `${text} is taken by ${who}`,
        pid === undefined
          ? `See who, as root: ${see}`
          : `Stop it: kill ${pid}; or listen elsewhere`,
      ),
    ];
  }
  if (isLocal === false) {
    return [
      fault(
        `${text}: this machine has no such address`,
        `See which it has: ip -brief address; or listen on 0.0.0.0:${port}`,
      ),
    ];
  }
  if (kind === "tcp" && port < firstOpenPort && !capabilities.includes("CAP_NET_BIND_SERVICE")) {
    return [
      fault(
        `${text}: a port below ${firstOpenPort} takes a right that this user has not`,
        "holdfast service install, or --socket with it; or as root " +
          `sysctl -w net.ipv4.ip_unprivileged_port_start=${port}`,
      ),
    ];
  }
  if (inTheWay) {
    return [fault(`${text}: what lies there is no socket`, `rm ${word(text.slice(5))}`)];
  }
  if (folder === "missing") {
    return [fault(`${text}: its folder is not there`, `mkdir -p ${word(parent(text.slice(5)))}`)];
  }
  return folder === "closed"
    ? [
      fault(
        `${text}: this user may not make a socket there`,
        `Listen in a folder of this user's, or as root: chown ${uid} ${
          word(parent(text.slice(5)))
        }`,
      ),
    ]
    : [ok(`${text} is free`)];
}

function parent(path: string): string {
  return path.replace(/\/[^/]*$/, "") || "/";
}

const addresses: Check = {
  id: "addresses",
  title: "Addresses",
  run: (facts) => facts.addresses.flatMap((each) => judgeAddress(each, facts)),
};

/** A certificate that ends within this time was not renewed when it should have been. */
const RENEWAL_MS = 14 * 24 * 3_600_000;
const DAY_MS = 24 * 3_600_000;

const certificates: Check = {
  id: "certificates",
  title: "Certificates",
  run: ({ config, problems, certificates, clock: { nowMs } }) => {
    if (config === undefined) return [];
    const wrong = problems.filter(({ code }) => TLS.test(code));
    return [
      ...wrong.map(({ message, hint }) => fault(message, hint)),
      ...certificates.map(({ cert, names, endMs }) => {
        const days = Math.floor((endMs - nowMs) / DAY_MS);
        const mend =
          `Renew it, such as by certbot renew, and: holdfast reload; or let "acme" get it`;
        if (endMs <= nowMs) {
          return fault(`${cert} has ended ${-days} days ago: every client refuses it`, mend);
        }
        return endMs - nowMs < RENEWAL_MS
          ? warning(`${cert} ends in ${days} days`, mend)
          : ok(`${names || cert}: ${days} more days`);
      }),
    ];
  },
};

const names: Check = {
  id: "names",
  title: "Names",
  run: ({ names }) =>
    names.length === 0 ? [] : or(
      names.flatMap(({ name, why, error }) =>
        error === undefined ? [] : [
          warning(
            `${name}, ${why}, does not resolve: ${error}`,
            `See what the system says: getent hosts ${word(name)}; cat /etc/resolv.conf`,
          ),
        ]
      ),
      `${names.length} resolve`,
    ),
};

const supervisor: Check = {
  id: "supervisor",
  title: "Running server",
  run: ({ running, holdfast, deno, config, runtime }) => {
    if (running === undefined) return [];
    const { pid, holdfast: version, deno: itsDeno, sinceMs, replaced, state, troubles } = running;
    const mend = `holdfast upgrade --config ${word(config?.named ?? "FILE")}`;
    const older = version !== holdfast.version
      ? `it is Holdfast ${version}, and the files are ${holdfast.version}`
      : itsDeno !== deno.version
      ? `it runs Deno ${itsDeno}, and this is ${deno.version}`
      : replaced
      ? "its deno program was replaced or removed since it started"
      : holdfast.changedMs > sinceMs
      ? "the files of Holdfast have changed since it started"
      : undefined;
    return or([
      ...troubles.map(({ message, hint }) => warning(`pid ${pid}: ${message}`, hint)),
      ...config !== undefined && runtime !== undefined && running.runtime !== runtime.path
        ? [
          warning(
            `pid ${pid} uses ${running.runtime}, and the config says ${runtime.path}: a reload ` +
              "refuses that",
            "holdfast stop && holdfast start",
          ),
        ]
        : [],
      ...older === undefined ? [] : [warning(`pid ${pid}: ${older}`, mend)],
      ...state === "failing"
        ? [
          fault(`pid ${pid}: its workers keep exiting`, "holdfast status; see its log, and reload"),
        ]
        : [],
    ], `pid ${pid}, ${state}`);
  },
};

const unit: Check = {
  id: "unit",
  title: "Service",
  run: ({ unit, config }) => {
    if (unit === undefined) return [];
    const { name, path, origin, differs, missing, closed, trouble } = unit;
    if (origin === "foreign") {
      return [note(`${path} starts it, and was not written by service install`)];
    }
    const mend = `holdfast service install --name ${name} --config ${
      word(config?.named ?? "FILE")
    }`;
    if (trouble !== undefined) return [warning(`${path}: ${trouble.message}`, trouble.hint)];
    return or([
      ...closed.map(({ message, hint }) => warning(message, hint)),
      ...missing.length > 0
        ? [
          fault(
            `${missing.join(", ")} is not there, and the service does not start without`,
            mend,
          ),
        ]
        : [],
      ...origin === "edited"
        ? [
          warning(
            `${path} was changed since service install wrote it`,
            `Put the change into a drop-in: systemctl edit ${name}; rm ${path}; ${mend}`,
          ),
        ]
        : [],
      ...origin === "ours" && differs.length > 0
        ? [
          warning(
            `It is not what this config asks for now: ${differs.join(", ")}`,
            `${mend}; systemctl restart ${name}`,
          ),
        ]
        : [],
    ], path);
  },
};

export const CONFIG_CHECKS: readonly Check[] = [
  ...[config, owners, secrets, account, folders, runtime, variables, addons, addresses],
  ...[certificates, names, supervisor, unit],
];
