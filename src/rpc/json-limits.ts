import {
  type DescMessage,
  isMessage,
  type JsonObject,
  type JsonValue,
  type Message,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { jsonOfValue } from "../runtime/json-value.ts";
import type { Violation } from "../runtime/refusal.ts";
import { compactJsonBytes } from "./json-bytes.ts";

const KIB = 1024;

/** Caps of fields that hold JSON, in bytes of UTF-8 as compact JSON; by message and field, as the contract spells them. */
const caps: Readonly<Record<string, readonly (readonly [path: string, bytes: number])[]>> = {
  [AgentService.method.enroll.input.typeName]: [["device_info", 16 * KIB]],
  [AgentService.method.heartbeat.input.typeName]: [
    ["device_info", 16 * KIB],
    ["error.context", 16 * KIB],
    ["current_task.checkpoint", 64 * KIB],
  ],
  [AgentService.method.updateTask.input.typeName]: [["checkpoint", 64 * KIB]],
  [AgentService.method.reportError.input.typeName]: [["context", 16 * KIB]],
  [AgentService.method.completeTask.input.typeName]: [["result", 256 * KIB]],
  [AgentService.method.failTask.input.typeName]: [["error.context", 16 * KIB]],
  [TaskService.method.createTask.input.typeName]: [["payload", 256 * KIB]],
  [TaskService.method.batchCreateTasks.input.typeName]: [["requests.payload", 256 * KIB]],
};

/** What exceeds its cap; the validation rules of the contract cannot measure JSON. */
export function findJsonViolations(schema: DescMessage, message: Message): Violation[] {
  const violations: Violation[] = [];
  for (const [path, bytes] of caps[schema.typeName] ?? []) {
    for (const { field, value } of valuesAt(schema, message, path.split("."), "")) {
      if (compactJsonBytes(value, bytes) > bytes)
        violations.push({ field, description: `must be at most ${bytes} bytes as compact JSON` });
    }
  }
  return violations;
}

/** The values at a path, of which the messages of a list have one each. */
function valuesAt(
  schema: DescMessage,
  message: Message,
  names: string[],
  parent: string,
): { field: string; value: JsonValue }[] {
  const [name, ...rest] = names;
  const field = schema.fields.find((candidate) => candidate.name === name);
  if (field === undefined) throw new Error(`${schema.typeName} has no field ${name}`);
  if (!reflect(schema, message).isSet(field)) return [];
  const path = `${parent}${name}`;
  // The generated message holds a set field under its local name.
  const value = (message as unknown as Record<string, unknown>)[field.localName];
  // The caps name Structs, which the runtime keeps as the objects that they stand for, and Values, which it does not.
  if (rest.length === 0)
    return [
      { field: path, value: isMessage(value, ValueSchema) ? jsonOfValue(value) : (value as JsonObject) },
    ];
  const { message: inner } = field;
  if (inner === undefined) throw new Error(`${field.toString()} has no fields of its own`);
  if (field.fieldKind !== "list") return valuesAt(inner, value as Message, rest, `${path}.`);
  return (value as Message[]).flatMap((each, index) => valuesAt(inner, each, rest, `${path}[${index}].`));
}
