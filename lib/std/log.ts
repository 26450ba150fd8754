/**
 * The `@std/log` names that this project uses, over LogTape (`@std/log` itself was removed upstream).
 * Going back to JSR is one line in `deno.json`.
 */
import {
  configureSync,
  getLogger as getTapeLogger,
  type LogLevel,
  type LogRecord as TapeRecord,
} from "@logtape/logtape";

export type LevelName = "DEBUG" | "INFO" | "WARN" | "ERROR" | "CRITICAL";

export interface LogRecord {
  msg: string;
  args: unknown[];
  datetime: Date;
  levelName: LevelName;
  loggerName: string;
}

export interface Handler {
  handle(record: LogRecord): void;
}

const LEVELS: Record<LogLevel, LevelName> = {
  trace: "DEBUG",
  debug: "DEBUG",
  info: "INFO",
  warning: "WARN",
  error: "ERROR",
  fatal: "CRITICAL",
};
const TAPE_LEVELS: Record<LevelName, LogLevel> = {
  DEBUG: "debug",
  INFO: "info",
  WARN: "warning",
  ERROR: "error",
  CRITICAL: "fatal",
};

/** Sends what the logger `default` gets from `level` on to `handler`. */
export function setup(options: { handler: Handler; level: LevelName }): void {
  const sink = (record: TapeRecord) =>
    options.handler.handle({
      msg: record.rawMessage as string,
      args: [record.properties],
      datetime: new Date(record.timestamp),
      levelName: LEVELS[record.level],
      loggerName: record.category.join("."),
    });
  configureSync({
    reset: true,
    sinks: { handler: sink },
    loggers: [
      { category: "default", lowestLevel: TAPE_LEVELS[options.level], sinks: ["handler"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["handler"] },
    ],
  });
}

/** The logger of that name; its methods take an event and one object of fields. */
export function getLogger(name = "default") {
  const tape = getTapeLogger(name);
  return {
    debug: (msg: string, fields: Record<string, unknown> = {}) => tape.debug(msg, fields),
    info: (msg: string, fields: Record<string, unknown> = {}) => tape.info(msg, fields),
    warn: (msg: string, fields: Record<string, unknown> = {}) => tape.warn(msg, fields),
    error: (msg: string, fields: Record<string, unknown> = {}) => tape.error(msg, fields),
    critical: (msg: string, fields: Record<string, unknown> = {}) => tape.fatal(msg, fields),
  };
}
