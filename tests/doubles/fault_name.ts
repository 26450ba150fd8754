/** The effects of the supervisor that a test can make fail. */
import type { WorkerCommand } from "../../lib/protocol/to_worker.ts";
import type { ControlServer } from "../../lib/supervisor/control_server.ts";
import type { Listener } from "../../lib/supervisor/listener.ts";
import type { RuntimeFolder } from "../../lib/supervisor/runtime_folder.ts";
import type { ChildHandle, Spawner } from "../../lib/supervisor/spawner.ts";
import type { System } from "../../lib/supervisor/system.ts";

/** The methods of a type, by their names. */
type MethodsOf<T> = {
  [Name in keyof T]-?: T[Name] extends (...all: never[]) => unknown ? Name & string : never;
}[keyof T];

/** A new effect is in here by itself, and then missing wherever all of them are listed. */
export type FaultName =
  | MethodsOf<System>
  | `spawner ${MethodsOf<Spawner>}`
  | `child ${Exclude<MethodsOf<ChildHandle>, "command"> | WorkerCommand}`
  | `listener ${MethodsOf<Listener>}`
  | `control ${MethodsOf<ControlServer>}`
  | `runtime ${MethodsOf<RuntimeFolder>}`;
