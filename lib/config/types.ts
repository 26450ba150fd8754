/**
 * The type of a config, for programs that write one. Holdfast reads `holdfast.jsonc` as data and runs no
 * code for it: editors get the same from the JSON Schema, by `$schema` in the file.
 *
 * ```ts
 * import type { HoldfastConfig } from "holdfast/config";
 *
 * const config = { app: "./main.ts", listen: ["127.0.0.1:8000"] } satisfies HoldfastConfig;
 * const text = JSON.stringify(config, null, 2); // goes into holdfast.jsonc
 * ```
 *
 * Written by `deno task schema` from the schema of the config.
 *
 * @module
 */

/**
 * The config file of Holdfast.
 */
export interface HoldfastConfig {
  /**
   * Where an editor finds the JSON Schema of this file. Holdfast ignores it.
   */
  $schema?: string;
  /**
   * The app's module, relative to the folder of the config file. Its project is the nearest folder at or above it with a deno.json, deno.jsonc or package.json; that is also the working directory of the app. Settings, import map, workspace and lock file are those that `deno run` finds there. Packages that differ from the lock file are an error.
   */
  app: string;
  /**
   * Where the server listens: "127.0.0.1:8000", "[::1]:8000", "localhost:8000", "unix:/run/app.sock", { "unix": "/run/app.sock", "mode": "0660" }, or sockets that systemd passes: "systemd" for all, "systemd:NAME" for one by its FileDescriptorName. HTTPS is an object with "https", "cert" and "key", and { "http": "0.0.0.0:80", "redirect": "https" } beside it sends clients on. { "http": "127.0.0.1:8000", "proxyProtocol": true } is for a balancer in front that speaks the PROXY protocol. Other host names are errors, since they may stand for several addresses. "0.0.0.0:8000" is every IPv4 address of the machine. "[::]:8000" alone is every IPv6 and IPv4 address; next to an IPv4 address with the same port it is IPv6 only. The socket stays open over reloads.
   *
   * @minItems 1
   * @maxItems 16
   */
  listen: (string | {
    /**
     * Path of the socket file, relative to the folder of the config file.
     */
    unix: string;
    /**
     * Who may connect, as octal permission bits of the socket file; connecting needs `w`. The default allows only the user that starts Holdfast. "0660" also allows its group, which is usual for a proxy in front.
     */
    mode?: string;
    /**
     * Whether each connection begins with a PROXY header, version 1 or 2, as HAProxy's `send-proxy` and `send-proxy-v2`, Caddy, nginx and load balancers of clouds write it. Its address is then the client's everywhere: in `info.remoteAddr`, the access log and the limits of `http`. A connection without the header is closed. Set it only where nobody but the proxy can connect: whoever can, says who he is.
     */
    proxyProtocol?: boolean;
  } | {
    /**
     * Where HTTPS is served: "0.0.0.0:443", "[::]:443", or a socket that systemd passes. TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, on the native engine and behind the kernel's wall: docs/tls.md.
     */
    https: string;
    /**
     * File of the certificate in PEM, with those that lead from it to an authority behind it (`fullchain.pem`), relative to the folder of the config file. One certificate may have several names. It is read at each start and reload, with its key: after a renewal, reload. No unveil may reach either of them. Where neither is given, the certificate is that of `acme`.
     */
    cert?: string;
    /**
     * File of its private key in PEM, without a password. Others may not read it. The supervisor hands it to each worker before the app is loaded, and it is never part of an image.
     */
    key?: string;
    /**
     * Several certificates at one address, in place of `cert` and `key`. A client gets the one with the name that it asks for, by its subjectAltName, wildcards included; where several have it, the first of them. A client that asks for none, or for another name, gets the first one. One certificate with all names costs less for each new connection.
     *
     * @minItems 1
     * @maxItems 64
     */
    certs?: {
      /**
       * File of the certificate in PEM, with those that lead from it to an authority behind it (`fullchain.pem`), relative to the folder of the config file. One certificate may have several names. It is read at each start and reload, with its key: after a renewal, reload. No unveil may reach either of them. Where neither is given, the certificate is that of `acme`.
       */
      cert: string;
      /**
       * File of its private key in PEM, without a password. Others may not read it. The supervisor hands it to each worker before the app is loaded, and it is never part of an image.
       */
      key: string;
    }[];
  } | {
    /**
     * Where plain HTTP is served, such as "0.0.0.0:80"; beside it stands `redirect`, `proxyProtocol` or both.
     */
    http: string;
    /**
     * Sends each request on, with 308, to the same host and path on the port of the first listener with `https`. The app sees none of them.
     */
    redirect: "https";
    /**
     * Whether each connection begins with a PROXY header, version 1 or 2, as HAProxy's `send-proxy` and `send-proxy-v2`, Caddy, nginx and load balancers of clouds write it. Its address is then the client's everywhere: in `info.remoteAddr`, the access log and the limits of `http`. A connection without the header is closed. Set it only where nobody but the proxy can connect: whoever can, says who he is.
     */
    proxyProtocol?: boolean;
  } | {
    /**
     * Where plain HTTP is served, such as "0.0.0.0:80"; beside it stands `redirect`, `proxyProtocol` or both.
     */
    http: string;
    /**
     * Whether each connection begins with a PROXY header, version 1 or 2, as HAProxy's `send-proxy` and `send-proxy-v2`, Caddy, nginx and load balancers of clouds write it. Its address is then the client's everywhere: in `info.remoteAddr`, the access log and the limits of `http`. A connection without the header is closed. Set it only where nobody but the proxy can connect: whoever can, says who he is.
     */
    proxyProtocol: true;
  })[];
  /**
   * Files and folders the app may use, with everything below them. Any other path throws `NotCapable`. The rights are named as in OpenBSD's unveil(2): `r` read, `w` write, `c` create, rename and remove. `x` (execute) is refused: a worker executes nothing. Unlike unveil(2), the list is fixed when a worker starts. Add a path when the app stores data. A config that makes something writable which the next reload or the system would run is an error. A path that ends in `/` and has `c` is created at the start if it does not exist.
   */
  unveil?: {
    [k: string]: string;
  };
  /**
   * Environment variables the app may see: a list of names, or an object with `true` for a variable that is passed on, or with a value: `{ "DATABASE_URL": true, "LOG_LEVEL": "info" }`. All others read as `undefined`. What the app sets by itself, as dotenv does, stays set in its process. `NODE_ENV` is `production` unless it is listed. `TZ` too must be listed: without it the app's local time is that of /etc/localtime. Names that control the runtime instead of the app, such as `DENO_*`, `LD_*` or `HTTP_PROXY`, are errors. Values are those of `envFile`, or those that Holdfast was started with: a reload or an upgrade brings in names that were added here, but new values of the latter need a restart. Values that are written here are kept with the releases: a secret belongs into `envFile`. `check` names the variables that are not set.
   */
  env?: string[] | {
    [k: string]: true | string;
  };
  /**
   * Facts of the machine the app may know. All others are answered with the same harmless values in every process: `os.hostname()` is "localhost", `process.getuid()` is that of nobody, and so on. List one if the app needs the true value, such as `hostname` for its log lines.
   *
   * @maxItems 6
   */
  sys?: ("hostname" | "osUptime" | "loadavg" | "systemMemoryInfo" | "uid" | "gid")[];
  /**
   * Paths of `unveil`, written as there, that the app may use until it has loaded and its `open()` has ended, and not when it answers requests: a key file, for example. Then they are not there for it, nor for any `Worker` that it starts later. This is Deno's layer: native code, and a `Worker` that was started before, can use them still.
   *
   * @maxItems 64
   */
  dropAfterOpen?: string[];
  /**
   * Whether the app runs without V8's compilers (`--jitless`). Then no memory becomes code any more, which the kernel's wall enforces: an attacker who has found a fault in V8 cannot bring code of his own. JavaScript that computes runs several times slower, and there is no `WebAssembly`. Not available in an executable that `deno compile` makes.
   */
  jitless?: boolean;
  /**
   * Whether each worker has a private folder for temporary files. `TMPDIR` names it, so that `os.tmpdir()` and `Deno.makeTempDir()` use it. It lies in the folder of `runtime`, belongs to the worker's user alone, and is removed with all that is in it when the worker ends.
   */
  tmp?: boolean;
  /**
   * Hosts the app may connect to: "api.example.com", "api.example.com:443", "10.0.0.5:5432" or "[::1]:5432"; and Unix sockets such as "unix:/run/postgresql/.s.PGSQL.5432", by a path that starts at the folder of the config file, and as the app spells it. The server sees the app's user there. None by default, so that an app that was taken over cannot send anything out. No wildcards. Listening needs no entry. docs/wall.md has the limits.
   *
   * @maxItems 128
   */
  net?: string[];
  /**
   * File with values for the variables that `env` lists, of the app and of helpers, relative to the folder of the config file: a line each as in `NAME=value`, with `#` for comments and quotes around a value that needs them. It is read at each start and reload, by the user that starts Holdfast, and is never part of an image: for a new secret, change the file and reload. Other names in it are ignored. No unveil may reach it.
   */
  envFile?: string;
  /**
   * How many processes serve the app. A worker that dies is replaced without the others. `"auto"` means one for each processor that the supervisor may use, at most 64. Raise it for an app that keeps a processor busy. Workers share the listeners and nothing else: what the app keeps in memory belongs to one worker.
   */
  workers?: number | "auto";
  /**
   * How many more workers are kept ready. They have loaded and opened the app, and accept nothing. One of them serves within milliseconds in place of a worker that dies, hangs or is recycled. Each takes the memory of a worker.
   */
  spare?: number;
  /**
   * Modules for dangerous jobs. Each runs in a separate process that has only the permissions of its entry here. The app calls a helper by its name; neither gets the other's permissions.
   */
  helpers?: {
    [k: string]: {
      /**
       * The helper's module, relative to the folder of the config file. Its default export is what `defineHelper` returns.
       */
      module: string;
      /**
       * Files and folders the helper may use, like the app's `unveil`. None by default.
       */
      unveil?: {
        [k: string]: string;
      };
      /**
       * Names of environment variables the helper may see, like the app's `env`. None by default.
       */
      env?: string[] | {
        [k: string]: true | string;
      };
      /**
       * Facts of the machine the helper may know, like the app's `sys`. None by default.
       *
       * @maxItems 6
       */
      sys?: ("hostname" | "osUptime" | "loadavg" | "systemMemoryInfo" | "uid" | "gid")[];
      /**
       * Paths that the helper may use only until its module has loaded, like the app's `dropAfterOpen`.
       *
       * @maxItems 64
       */
      dropAfterOpen?: string[];
      /**
       * Whether the helper runs without V8's compilers, like the app's `jitless`.
       */
      jitless?: boolean;
      /**
       * Whether each instance has a private folder for temporary files, like the app's `tmp`.
       */
      tmp?: boolean;
      /**
       * Hosts the helper may connect to, like the app's `net`. None by default.
       *
       * @maxItems 128
       */
      net?: string[];
      /**
       * Whether the helper may load native addons of its packages, such as those of sharp or libSQL. Deno's permissions do not hold native code: the kernel's wall alone does, so that this is an error with `"wall": "deno"`. A worker never may.
       */
      native?: boolean;
      /**
       * How many processes run the helper. Raise it for work that keeps a processor busy, and so that one can answer while another has died or hangs.
       */
      instances?: number;
      /**
       * How many calls an instance runs at once. Further calls wait in it; the workers take turns. Set it to `1` for a job that must not run twice at the same time.
       */
      concurrency?: number;
      /**
       * How long a call may take, in milliseconds, its streams included. After that it fails. An instance that does not end the call then is stuck, and is replaced.
       */
      timeoutMs?: number;
      /**
       * How much writable memory an instance may have, in bytes (RLIMIT_DATA). The default is that of `limits`.
       */
      memoryBytes?: number;
      /**
       * Whether an instance that died is replaced; after repeated deaths with growing waits. While no instance lives, and with `never` for good, calls fail when their time is over.
       */
      restart?: "always" | "never";
    };
  };
  /**
   * The HTTP server in the worker. `native` is Deno's own server, reached over an internal API; where that is missing, and on Unix sockets, `node` is used instead. `node` is node:http: nearly only public API, about a third as fast, and without HTTP/2. Both serve WebSockets. docs/architecture.md lists the differences.
   */
  engine?: "native" | "node";
  /**
   * What restricts the workers. `kernel`: Deno's permissions, and below them Landlock and seccomp, which also restrict native code; a machine that lacks them is an error. `deno`: only Deno's permissions.
   */
  wall?: "kernel" | "deno";
  /**
   * What happens to a worker that tried to start a program or to signal another process. `replace` kills it and starts another; `log` only logs it, up to a thousand times. The former name `on_violation` is still accepted.
   */
  onViolation?: "replace" | "log";
  /**
   * Resource limits of a worker; only with the kernel's wall. A limit above that of Holdfast itself is cut to it. A worker's memory is never written to a core file.
   */
  limits?: {
    /**
     * How many open files and connections a worker may have (RLIMIT_NOFILE); at most half of what Holdfast may have. Connections beyond it wait in the kernel until others end; the log says `accepting_stalled`.
     */
    descriptors?: number;
    /**
     * How many threads and processes the user of the workers, or of the helper, may have in all (RLIMIT_NPROC). The kernel does not enforce it for root.
     */
    processes?: number;
    /**
     * The largest file that a worker may write, in bytes (RLIMIT_FSIZE).
     */
    fileBytes?: number;
    /**
     * How much writable memory a worker may have, in bytes (RLIMIT_DATA), JavaScript's heap included; at least 128 MiB. No limit by default. A worker that needs more dies and is replaced.
     */
    memoryBytes?: number;
  };
  /**
   * What a worker allows its clients, so that slow and greedy ones harm nobody; docs/limits.md has the whole. 0 turns a limit off. Times are looked at once a second. What has acted is in `status`, the metrics, and the event `clients_limited`.
   */
  http?: {
    /**
     * How long a new connection may take until its first request's head is complete, in milliseconds, a PROXY header included (client_header_timeout in nginx, timeout http-request in HAProxy). Heads of later requests fall under keepAliveTimeoutMs.
     */
    headerTimeoutMs?: number;
    /**
     * How long the app may wait for the next piece of a request's body, in milliseconds (client_body_timeout). Then the connection is cut. Time in which the app does not read does not count. Raise it for clients that pause amid an upload.
     */
    bodyTimeoutMs?: number;
    /**
     * How long a client may take nothing of what is sent to it, in milliseconds (send_timeout). Then the connection is cut. On TCP listeners it is also the kernel's TCP_USER_TIMEOUT, which counts time without an acknowledgement from a host that is gone. Raise it for players that pause a download.
     */
    sendTimeoutMs?: number;
    /**
     * How much of a body, or of an answer longer than 64 KiB, must pass at the least while the client is waited for, as bytes a second (MinRequestBodyDataRate in Kestrel). It counts beyond bodyTimeoutMs and sendTimeoutMs: a client that is slower uses these times up. 0 for any rate.
     */
    minBytesPerSecond?: number;
    /**
     * How long a connection without a request is kept, in milliseconds (keepalive_timeout). The end is announced where the protocol can. Behind a proxy that keeps connections, set it above the proxy's own time.
     */
    keepAliveTimeoutMs?: number;
    /**
     * How long a WebSocket may pass no message either way, in milliseconds, until it is closed with 1001 (timeout tunnel in HAProxy). No limit by default: a client that is gone is found by the runtime's own pings on the sockets of `Deno.upgradeWebSocket`.
     */
    webSocketIdleTimeoutMs?: number;
    /**
     * The largest body of a request, in bytes (client_max_body_size). One whose Content-Length is larger is answered with 413 at once, and the app does not see it. One that turns out larger fails where the app reads it, and is answered with 413 if the app does not catch that. The default stops only what has no end: set it to what the app takes.
     */
    maxBodyBytes?: number;
    /**
     * After how many requests a connection ends (keepalive_requests). Its last answer says so.
     */
    maxRequestsPerConnection?: number;
    /**
     * How many connections a worker has open at most (worker_connections). Others wait in the kernel for a worker that has room; on a Unix socket they are answered with 503. 0 for what limits.descriptors allows.
     */
    maxConnections?: number;
    /**
     * How many connections of one client a worker has open at most (limit_conn). An IPv6 client is its /64. Others are closed at once. Addresses of `trustedProxies` and clients on Unix sockets are not counted; with `proxyProtocol` the client's own address is. Many may share an address: set it in the hundreds.
     */
    maxConnectionsPerAddress?: number;
    /**
     * How many requests a worker has in flight at most (maxconn of a server in HAProxy). Others are answered with 503 and Retry-After at once. Set it for an app that is slower the more it does.
     */
    maxRequests?: number;
    /**
     * How long a client that limits act on again and again is refused at the most, in milliseconds (PerSourcePenalties in sshd). Its connections are closed at once; behind `trustedProxies` its requests are answered with 429. It grows with each time that a client was cut for being too slow, and fades by itself. An IPv6 client is its /64.
     */
    maxPenaltyMs?: number;
    /**
     * Clients that are never refused for that: addresses, or ranges such as 192.0.2.0/24. By default the private ones. Add whoever stands for many, such as a content network in front that is not in `trustedProxies`.
     *
     * @maxItems 256
     */
    penaltyExempt?: string[];
  };
  /**
   * Timeouts for starting new workers and draining old ones.
   */
  reload?: {
    /**
     * How long new workers may take to become ready, in milliseconds. After that the reload fails and the old workers keep serving. Raise it for an app with a long warm-up.
     */
    readyDeadlineMs?: number;
    /**
     * How long an old worker keeps idle keep-alive connections open, in milliseconds, so that a client that is about to send a request gets an answer. A request counts from when its head is complete: a client that takes longer than this to send one is closed without an answer. Raise it for clients that pause long between requests or send slowly, lower it for quicker reloads.
     */
    idleGraceMs?: number;
    /**
     * How long requests in flight may take to finish after a reload, in milliseconds. The rest is cut and counted. At least idleGraceMs. Raise it for long downloads and uploads.
     */
    drainDeadlineMs?: number;
    /**
     * How long the `readiness` path answers 503 before the server stops accepting connections, in milliseconds. Until then everything else is answered as before. Set it longer than your load balancer's check interval times its failure threshold. It is added to drainDeadlineMs, so allow the service manager the sum of both for a stop. A reload has no such delay, since the new workers accept on the same listeners at once. The former name `announceMs` is still accepted.
     */
    shutdownDelayMs?: number;
    /**
     * Over what time a reload closes WebSockets, with 1012 (service restart), and ends event streams, in milliseconds: each at a random moment, so that their clients do not all come back at once. At most drainDeadlineMs. By default they are closed at once, with 1001. Set it for thousands of such clients. A stop does not wait for it.
     */
    spreadMs?: number;
    /**
     * What a reload does with WebSockets. `close` closes them (`spreadMs`). With `keep` the old workers and their helpers live on for them, until all have ended or `keepDeadlineMs` is over; everything else drains as usual. Each generation that is kept holds the memory of its processes, some 60 MiB a worker, and runs the old version of the app beside the new one. A stop and an upgrade close them all the same. The value of the config in force counts: a reload with `close` also ends what was kept before.
     */
    webSockets?: "close" | "keep";
    /**
     * With `"webSockets": "keep"`: how long after a reload the old workers close what is still open, in milliseconds, with 1012, over `spreadMs`.
     */
    keepDeadlineMs?: number;
    /**
     * With `"webSockets": "keep"`: how many old generations are kept at the same time, besides `maxDraining`. One more, and the oldest closes what it has. The value of the config in force counts.
     */
    maxKept?: number;
    /**
     * How many old generations may drain at the same time. A reload that would exceed it waits until one has ended. Each old generation keeps the memory of its processes: raise it if there is enough for many reloads in a row. The value of the config in force counts.
     */
    maxDraining?: number;
    /**
     * How many versions that have served are kept besides the one that serves, for `holdfast rollback`. Each is a copy of the app's modules; packages that several use are kept once.
     */
    keep?: number;
    /**
     * What the app of a new version must answer before it takes the place of the old one: paths, or objects with `path`, and `status`, `timeoutMs`, `times`, `headers` as they are needed. Each new worker is asked, by GET, within its process: nobody else sees it, and neither limits nor the access log have a part in it. A wrong answer refuses the reload, and the old version serves on. Reloads, rollbacks and upgrades ask; a start does not, since nothing better would serve then, nor does a worker that takes the place of one that died.
     *
     * @maxItems 32
     */
    probe?: (string | {
      /**
       * The path, with a query if it has one.
       */
      path: string;
      /**
       * What it may be answered with, such as `[200, 302]`; by default any of 200 to 299.
       *
       * @minItems 1
       * @maxItems 16
       */
      status?: number[];
      /**
       * How long the whole answer may take, in milliseconds.
       */
      timeoutMs?: number;
      /**
       * How often it is asked, one after the other. Each answer must be good.
       */
      times?: number;
      /**
       * Headers of the request, such as `{ "host": "www.example.com" }`.
       */
      headers?: {
        [k: string]: string;
      };
    })[];
    /**
     * What happens to a reload that grants more than what serves: a path, a host, a fact, native code, a weaker wall. `allow` brings it in, and tells what is new (`policy_widened`). `ask` refuses it, unless it comes by `holdfast reload --widen`. The value of the version that serves decides. What is new of `env`, `log`, `listen` and limits is told and never refused; a start, and a rollback, are not asked.
     */
    widen?: "allow" | "ask";
    /**
     * Paths that each new worker is asked for before it is probed, so that the first clients find the app warm. What is answered does not matter. All of them have 5 s together, within readyDeadlineMs. Name only what a GET does not change.
     *
     * @maxItems 64
     */
    warmUp?: string[];
  };
  /**
   * When a healthy worker is replaced; never by default. The new worker starts first, and the old one drains as at a reload, so that nothing is lost. At most one worker of a generation is replaced at a time. Each worker's limits are up to a tenth below or above these, so that workers that started together are not due together. No worker is replaced before it has served for 10 s.
   */
  recycle?: {
    /**
     * How many requests a worker answers before it is replaced. Set it for an app that leaks a little memory with each request.
     */
    maxRequests?: number;
    /**
     * How old a worker may become before it is replaced, in milliseconds; at least 10000.
     */
    maxAgeMs?: number;
    /**
     * How much memory a worker may use (VmRSS of proc_pid_status(5)) before it is replaced, in bytes; at least 128 MiB. It is measured once a second. Set it well below `limits.memoryBytes`, at which a worker dies, and well above what the app needs from the start.
     */
    maxMemoryBytes?: number;
  };
  /**
   * When a worker counts as stuck. Another worker is started first; then the old one is told to drain, and killed 2 s later if it still does not respond.
   */
  watchdog?: {
    /**
     * How long the event loop of a worker may be blocked before the worker is replaced, in milliseconds: at least 4000, or 0 to turn the watchdog off. What blocks it is computation without an `await` that waits. Time in which the supervisor itself could not run does not count. Raise it for an app with long computations, or better, move them to a helper.
     */
    pulseDeadlineMs?: 0 | number;
  };
  /**
   * Proxies in front that say who the client is: addresses, ranges such as "10.0.0.0/8", or "unix" for whoever connects to a Unix socket. For their requests `info.remoteAddr` and the access log have the client's address, and `request.url` begins with `https:` if `X-Forwarded-Proto` says so. Without this key, and for everybody else, these headers are only headers: any client can send them. Name only proxies that write the header themselves.
   *
   * @maxItems 256
   */
  trustedProxies?: string[];
  /**
   * The header in which `trustedProxies` say who the client is: a list that each proxy adds to, such as `X-Forwarded-For`, or a single address, such as `X-Real-IP`. The list is read from its end: the client is the first address that is no trusted proxy. `Forwarded` is read as RFC 7239 says, with its scheme.
   */
  clientAddressHeader?: string;
  /**
   * Path that tells a load balancer whether to send requests here, such as "/ready"; none by default. The worker itself answers it, on every listener, and the app never sees it: 200 and `ready` while it serves, 503 and `draining` when Holdfast stops. During a reload it answers 200, from old workers too, because the host keeps serving.
   */
  readiness?: string;
  /**
   * Log files, in addition to the events on stderr.
   */
  log?: {
    /**
     * Folder of `holdfast.log` and `access.log`, relative to the folder of the config file. It is created if needed, and owned by the logger, a separate process that writes the files (docs/accounts.md); it has no other permissions. Without this key there are no log files, and events go only to stderr. No unveil may reach the folder.
     */
    folder?: string;
    /**
     * The format of `access.log`. `common` and `combined` are Apache's formats, in UTC; `json` is one object a line, which also has the worker and the response time. `common` costs less than `combined`, which adds referer and user agent. The client's address is that of the connection: behind a proxy, the proxy's, unless `trustedProxies` names it.
     */
    access?: "off" | "common" | "combined" | "json";
    /**
     * The largest log file, in bytes. Then the file is renamed, with the time of its end in its name, and a new one is started.
     */
    rotateBytes?: number;
    /**
     * How old a log file may be when a line is added, in hours; 0 for no limit. Set it to 0, and rotateBytes high, if logrotate rotates the files.
     */
    rotateHours?: number;
    /**
     * How many old files of each log are kept; the oldest are removed.
     */
    keep?: number;
    /**
     * Whether old files are compressed with gzip.
     */
    compress?: boolean;
    /**
     * The longest line that the app or a helper prints which is logged whole, in bytes. A longer line is cut, and says so.
     */
    outputLineBytes?: number;
    /**
     * How much of what a process prints is logged in the long run, in bytes a second. Standard output and standard error count separately. A line counts its bytes and 128 more. Output beyond that is dropped; `worker_output_dropped` says how many lines. Raise it for an app that logs a line for each request under load; each line costs the supervisor some time.
     */
    outputBytesPerSecond?: number;
    /**
     * How much of what a process prints is logged at once, in bytes, counted as for outputBytesPerSecond. At least outputLineBytes and 128.
     */
    outputBurstBytes?: number;
  };
  /**
   * Metrics for Prometheus; none by default. A separate process serves them. It has no permissions, and gets the figures of `holdfast status` from the supervisor once a second.
   */
  metrics?: {
    /**
     * Where a separate process answers `GET /metrics` for Prometheus: "127.0.0.1:9464", "[::1]:9464" or "unix:/run/app-metrics.sock", written as in `listen`. Only addresses of this machine are allowed, since the figures reveal much and there is no authentication.
     */
    listen: string | {
      /**
       * Path of the socket file, relative to the folder of the config file.
       */
      unix: string;
      /**
       * Who may connect, as octal permission bits of the socket file; connecting needs `w`. The default allows only the user that starts Holdfast. "0660" also allows its group, which is usual for a proxy in front.
       */
      mode?: string;
    };
  };
  /**
   * Gets the certificate of each listener with `https` and no `cert` by itself, from Let's Encrypt or another authority that speaks ACME, and renews it: docs/tls.md. A separate process does that. It is asked by the authority on port 80, so `listen` needs { "http": "0.0.0.0:80", "redirect": "https" } too. With this key you agree to the terms of the authority. Certificate, key and account are kept in the folder of `runtime`.
   */
  acme?: {
    /**
     * The names that the certificate is for: "example.com", "www.example.com". Each must lead to this machine. One certificate has all of them; no wildcards. A name beyond ASCII is written as `xn--…`.
     *
     * @minItems 1
     * @maxItems 100
     */
    names: string[];
    /**
     * Where the authority writes to, if it does.
     */
    email?: string;
    /**
     * The URL of the authority's ACME directory (RFC 8555). The default is Let's Encrypt. Try things out with its staging directory, "https://acme-staging-v02.api.letsencrypt.org/directory", whose certificates no browser trusts: it has no strict limits.
     */
    directory?: string;
    /**
     * File in PEM of one more authority that vouches for the directory's own server, relative to the folder of the config file: for an authority of one's own, such as step-ca.
     */
    trust?: string;
  };
  /**
   * OpenTelemetry traces of requests, and of starts and drains of workers, with Deno's own support; none by default. Not available in an executable that `deno compile` makes.
   */
  traces?: {
    /**
     * Where the workers send their spans: "127.0.0.1:4318" or "[::1]:4318", an OpenTelemetry collector that takes OTLP over HTTP. It must be an address, not a name: the kernel's wall opens its port for the worker, and nothing else.
     */
    collector: string;
    /**
     * The name of the app in traces (`service.name`).
     */
    service: string;
  };
  /**
   * The user that workers run as when Holdfast starts as root: a name of /etc/passwd or a decimal id, never root. Without it they have an id of Holdfast's own, as helpers always do: docs/accounts.md. An error if Holdfast does not start as root. The user must be able to read the app's modules and Deno's cache, and to enter the folder of `runtime`. Workers get no supplementary groups, neither root's nor the user's own from /etc/group: files that they need must belong to `user` or `group`, or be open to everyone.
   */
  user?: string;
  /**
   * The group that workers run as: a name of /etc/group or a decimal id. The default is the primary group of `user`. Set it if data belongs to another group.
   */
  group?: string;
  /**
   * The name of the app in what `holdfast compile` builds; the default is that of the config's folder. `--name` goes before it. A new file takes an old one's place only if both have the same name. Nothing else uses it.
   */
  name?: string;
  /**
   * Folder of the control socket, the lock, and the compiled code of each generation, relative to the folder of the config file. Move it to /run if that folder is read-only, or is a different one for each release of the app. A change needs a restart. No unveil may reach it.
   */
  runtime?: string;
}
