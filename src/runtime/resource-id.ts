import { v7 } from "uuid";

/** What an id can name; its word begins the id's text. */
export type ResourceKind =
  | "agent"
  | "audit"
  | "error"
  | "issue"
  | "project"
  | "run"
  | "task"
  | "token"
  | "tracker";

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A fresh UUIDv7. Its time helps indexes only; no rule reads it. */
export function newUuid(): string {
  return v7();
}

/** The text of an id, such as `agent_0190f3a2-…`. */
export function formatId(kind: ResourceKind, uuid: string): string {
  return `${kind}_${uuid}`;
}

/** The UUID in an id's text, or undefined where the text is no id of that kind. */
export function parseId(kind: ResourceKind, text: string): string | undefined {
  if (!text.startsWith(`${kind}_`)) return undefined;
  const uuid = text.slice(kind.length + 1);
  return uuidPattern.test(uuid) ? uuid : undefined;
}
