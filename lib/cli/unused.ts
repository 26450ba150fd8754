import { EXIT } from "../base/exit_code.ts";
import type { CliCommand } from "./command.ts";
export const unused: CliCommand = () => Promise.resolve(EXIT.ok);
