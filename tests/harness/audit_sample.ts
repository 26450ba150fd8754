/** Attempts of each area of the audit, by their ids: deep/audit_test.ts makes all of them. */
export const SAMPLE = [
  ...["FR1.deno", "FR1.node", "FR1.native", "FR2.twin", "FR3.absolute", "FR8.canary_environ"],
  ...["FR8.supervisor_mem", "FR12.json", "FR17.open", "FR19.file", "FR24.inotify", "FR21.race"],
  ...[
    "FW1.write",
    "FW1.node_rename",
    "FW1.native_open",
    "FW1.native_unlink",
    "FW2.write",
    "FW3.create",
  ],
  ...["FW5.write", "FW6.native", "FW8.native_chmod_readable", "FW9.setxattr", "FW14.move_in"],
  ...["EX1.output", "EX1.node_spawn", "EX4.shell", "EX7.clone3", "EX3.library"],
  ...["NW1.connect", "NW1.native", "NW2.datagram", "NW2.net", "NW7.listen", "NW8.native"],
  ...["NW14.option_so_attach_filter", "NW16.netlink", "NW16.ring"],
  ...["SP1.deno_term", "SP1.native_kill", "SP1.native_supervisor", "SP4.pidfd", "SP4.queue"],
  ...["SP5.traceme", "SP6.readv_supervisor", "SP9.nice", "SP11.add_key", "SP13.unshare"],
  ...["SE1.get", "SE1.node", "SE4.shadow_native", "SE7.hostname", "SE11.request_all"],
  ...["PE1.module.deno", "PE1.config.native", "PE4.cache.native", "PE4.local_storage"],
  ...["IP1.phase", "IP3", "IP17.exit", "HG1.helper_read", "HG1.worker_native"],
  ...["HG2.helper_native", "HG3.helper_native", "HP2.worker_native", "HL1.long", "HL4.long"],
  ...["HO1.native", "RE5.deno"],
];
