/**
 * Exit statuses are an interface: systemd's `RestartPreventExitStatus=`, scripts and tests read them.
 * The numbers follow sysexits.h where it has one.
 */
export const EXIT = {
  /** Done, or stopped as asked. */
  ok: 0,
  /** `reload`: the new version was refused, the old one serves. `audit`: a hole. `doctor`: a fault. */
  refused: 1,
  /** `status`: no worker serves yet, or crash loop: workers keep exiting soon after they start. */
  failing: 2,
  /** The command line is wrong (EX_USAGE). */
  usage: 64,
  /** No supervisor answers on the control socket (EX_UNAVAILABLE). */
  not_running: 69,
  /** A bug in Holdfast itself (EX_SOFTWARE). */
  bug: 70,
  /** The machine refused something: a port is taken, a folder is not writable (EX_OSERR). */
  environment: 71,
  /** The app did not become ready at start. */
  app: 75,
  /** The config is wrong; starting again will not help (EX_CONFIG). */
  config: 78,
} as const;

/** The name of an exit status. */
export type ExitName = keyof typeof EXIT;
