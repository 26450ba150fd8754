/**
 * Reads the YAML of a Kubernetes manifest from standard input, holds each object against the schema
 * of its kind, and prints the objects by their kinds as JSON. What is wrong goes to standard error.
 */
import { Deployment } from "kubernetes-models/apps/v1";
import { ConfigMap, PersistentVolumeClaim, Service } from "kubernetes-models/v1";
import { parseAllDocuments } from "yaml";

interface Model {
  validate(): void;
}

const KINDS: Readonly<Record<string, new (data: never) => Model>> = {
  Deployment,
  ConfigMap,
  PersistentVolumeClaim,
  Service,
};

const objects: Record<string, Model> = {};
for (const document of parseAllDocuments(await new Response(Deno.stdin.readable).text())) {
  const [error] = document.errors;
  if (error) throw error;
  const data = document.toJS();
  const Kind = KINDS[data.kind];
  if (!Kind) throw new Error(`There is no schema for a ${data.kind}`);
  if (objects[data.kind]) throw new Error(`There is more than one ${data.kind}`);
  const object = new Kind(data as never);
  object.validate();
  objects[data.kind] = object;
}
// deno-lint-ignore no-console
console.log(JSON.stringify(objects));
