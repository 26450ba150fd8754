/** The service unit. It is what deploy/systemd shows, with the values of one config. Pure. */
import { bindsLowPort, needs, type ServicePlan, variablesFile } from "./plan.ts";
import { execLine, specified, unitWord } from "./quote.ts";

/** Since when there is Type=notify-reload. */
export const NOTIFY_RELOAD_SINCE = 253;

/** What a stop may take besides its drain. */
const STOP_SPARE_S = 15;

/** More than any reload adds to the listeners of a config. */
const SPARE_STORED = 4;

/** The unit's text. */
export function serviceUnit(plan: ServicePlan): string {
  const { name, user } = plan;
  return [
    ...user === undefined
      ? [
        "# Holdfast with an account for each process: see docs/systemd.md. The supervisor is root with",
        "# the few capabilities that it takes to start others.",
      ]
      : [
        "# Holdfast, all of it as one user: see docs/systemd.md. Its processes share the budgets that the",
        "# kernel keeps for each user.",
      ],
    `# To change something: systemctl edit ${name}`,
    "[Unit]",
    `Description=${name}, served by Holdfast`,
    "After=network-online.target",
    "Wants=network-online.target",
    ...plan.socket ? [`Requires=${name}.socket`] : [],
    "# After more crashes than these it stays down, and its stored listeners are closed.",
    "StartLimitIntervalSec=60",
    "StartLimitBurst=10",
    "",
    "[Service]",
    ...isOld(plan) ? ["Type=notify", "ExecReload=/bin/kill -HUP $MAINPID"] : ["Type=notify-reload"],
    "NotifyAccess=main",
    ...user === undefined ? [] : [`User=${user}`],
    `Environment=${unitWord(`DENO_DIR=${plan.denoDir}`)}`,
    ...plan.variables.length === 0 ? [] : [
      `# Values of ${plan.variables.join(", ")}, a line of NAME=value each.`,
      `EnvironmentFile=-${specified(variablesFile(plan))}`,
    ],
    `ExecStart=${execLine(plan.start)}`,
    "",
    "Restart=on-failure",
    "RestartSec=100ms",
    "# Wrong usage or a wrong config: a restart would not help.",
    "RestartPreventExitStatus=64 78",
    "WatchdogSec=30",
    "# Until the first message; each message then says how long the next step may take.",
    "TimeoutStartSec=90",
    "# More than reload.shutdownDelayMs plus reload.drainDeadlineMs.",
    `TimeoutStopSec=${Math.ceil(plan.stopMs / 1000) + STOP_SPARE_S}`,
    "# TERM goes to the supervisor, which stops the others; what is left at the end is killed.",
    "KillMode=mixed",
    "# Listeners that survive a crash of the supervisor.",
    `FileDescriptorStoreMax=${plan.addresses.length + SPARE_STORED}`,
    "",
    `CacheDirectory=${name}`,
    "CacheDirectoryMode=0700",
    `LimitNOFILE=${Math.max(65_536, 2 * plan.descriptors)}`,
    "# The kernel ends others first where memory is short.",
    "OOMScoreAdjust=-200",
    "UMask=0077",
    "",
    "ProtectSystem=strict",
    ...plan.writes.map((path) => `ReadWritePaths=${unitWord(path)}`),
    ...protectHome(plan),
    ...privateTmp(plan),
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectControlGroups=yes",
    ...user === undefined
      ? [
        "# Not ProtectProc=: the supervisor compares what the kernel says of each process with what was meant.",
      ]
      : ["ProtectProc=invisible"],
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    ...capabilities(plan),
    "NoNewPrivileges=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    ...user === undefined
      ? ["SystemCallFilter=@chown @setuid capset"]
      : bindsLowPort(plan)
      ? ["# Workers give up the capability.", "SystemCallFilter=capset"]
      : [],
    "# The system calls that build the wall of each worker.",
    "SystemCallFilter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    "SystemCallErrorNumber=EPERM",
    "# V8 compiles, so it executes memory that it has written.",
    "MemoryDenyWriteExecute=no",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
    "",
  ].join("\n");
}

function isOld({ systemd }: ServicePlan): boolean {
  return systemd !== undefined && systemd < NOTIFY_RELOAD_SINCE;
}

function protectHome(plan: ServicePlan): string[] {
  if (!needs(plan, "/home", "/root", "/run/user")) return ["ProtectHome=yes"];
  return ["# Something that it needs lies in a home.", "ProtectHome=read-only"];
}

function privateTmp(plan: ServicePlan): string[] {
  if (!needs(plan, "/tmp", "/var/tmp")) return ["PrivateTmp=yes"];
  return ["# Something that it needs lies in there.", "PrivateTmp=no"];
}

function capabilities(plan: ServicePlan): string[] {
  const { user, dialsSockets, closedToRoot } = plan;
  const low = bindsLowPort(plan);
  if (user !== undefined) {
    const bind = low ? "CAP_NET_BIND_SERVICE" : "";
    return [
      ...low ? ["# For a port that not everybody may bind."] : [],
      `CapabilityBoundingSet=${bind}`,
      `AmbientCapabilities=${bind}`,
    ];
  }
  const set = [
    "CAP_CHOWN CAP_KILL CAP_SETGID CAP_SETUID",
    ...low ? ["CAP_NET_BIND_SERVICE"] : [],
    ...dialsSockets ? ["CAP_SYS_PTRACE"] : [],
    ...closedToRoot === undefined ? [] : ["CAP_DAC_READ_SEARCH"],
  ];
  return [
    "# To give folders to accounts, to become them, and to end their processes.",
    ...low ? ["# CAP_NET_BIND_SERVICE: for a port that not everybody may bind."] : [],
    ...dialsSockets ? ["# CAP_SYS_PTRACE: to see which Unix socket a worker dials."] : [],
    ...closedToRoot === undefined
      ? []
      : [`# CAP_DAC_READ_SEARCH: ${closedToRoot} is closed to others than its owner.`],
    `CapabilityBoundingSet=${set.join(" ")}`,
    "AmbientCapabilities=",
  ];
}
