import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";
import type { Step } from "./violation-path.ts";

/*
 * What has to be looked at in a message, worked out once for its descriptor: fields without text, floating point
 * or time are left out, and so are messages that hold none at any depth.
 */

/** The fields of one type of message that can hold something wrong. */
export type MessagePlan = { checks: readonly FieldCheck[] };

export type FieldCheck = {
  readonly field: DescField;
  readonly step: Step;
  readonly content: Content;
  /** Whether the field is a map whose keys are text. */
  readonly textKeys: boolean;
};

/** `json`: a Struct, which the runtime keeps as a plain object; `tree`: Value and ListValue, which stay messages. */
export type Content =
  | { readonly kind: "nothing" }
  | { readonly kind: "text" }
  | { readonly kind: "number" }
  | { readonly kind: "time" }
  | { readonly kind: "duration" }
  | { readonly kind: "json" }
  | { readonly kind: "tree" }
  | { readonly kind: "message"; readonly plan: MessagePlan };

const plans = new WeakMap<DescMessage, MessagePlan>();

/** The plan of a message, made at its first use and kept as long as the descriptor. */
export function messagePlan(desc: DescMessage): MessagePlan {
  const known = plans.get(desc);
  if (known !== undefined) return known;
  const reachable = withReachable(desc);
  for (const [message, plan] of reachable)
    plan.checks = message.fields.map((field) => checkOf(field, reachable));
  leaveOutIdle([...reachable.values()]);
  for (const [message, plan] of reachable) plans.set(message, plan);
  return reachable.get(desc) ?? { checks: [] };
}

/** An empty plan for the message and for every one that it can contain; messages may contain themselves. */
function withReachable(desc: DescMessage): Map<DescMessage, MessagePlan> {
  const reachable = new Map<DescMessage, MessagePlan>();
  const work = [desc];
  for (let message = work.pop(); message !== undefined; message = work.pop()) {
    if (reachable.has(message)) continue;
    reachable.set(message, { checks: [] });
    for (const field of message.fields) if (field.message !== undefined) work.push(field.message);
  }
  return reachable;
}

function checkOf(field: DescField, reachable: ReadonlyMap<DescMessage, MessagePlan>): FieldCheck {
  const textKeys = field.fieldKind === "map" && field.mapKey === ScalarType.STRING;
  return { field, step: { kind: "field", name: field.name }, content: contentOf(field, reachable), textKeys };
}

function contentOf(field: DescField, reachable: ReadonlyMap<DescMessage, MessagePlan>): Content {
  if (field.message === undefined) return scalarContent(field.scalar);
  // Wrappers are kept as their bare value, but only in singular fields outside a oneof.
  if (field.fieldKind === "message" && field.oneof === undefined && isWrapperDesc(field.message)) {
    return scalarContent(field.message.fields[0].scalar);
  }
  switch (field.message.typeName) {
    case "google.protobuf.Struct":
      return { kind: "json" };
    case "google.protobuf.Value":
    case "google.protobuf.ListValue":
      return { kind: "tree" };
    case "google.protobuf.Timestamp":
      return { kind: "time" };
    case "google.protobuf.Duration":
      return { kind: "duration" };
  }
  const plan = reachable.get(field.message);
  return plan === undefined ? { kind: "nothing" } : { kind: "message", plan };
}

function scalarContent(scalar: ScalarType | undefined): Content {
  switch (scalar) {
    case ScalarType.STRING:
      return { kind: "text" };
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { kind: "number" };
    default:
      return { kind: "nothing" };
  }
}

/** Drops every check that can find nothing; a message that only contains itself is idle too. */
function leaveOutIdle(all: readonly MessagePlan[]): void {
  const useful = new Set<MessagePlan>();
  const isUseful = ({ content, textKeys }: FieldCheck) =>
    textKeys || (content.kind === "message" ? useful.has(content.plan) : content.kind !== "nothing");
  for (let size = -1; size !== useful.size; ) {
    size = useful.size;
    for (const plan of all) if (plan.checks.some(isUseful)) useful.add(plan);
  }
  for (const plan of all) plan.checks = plan.checks.filter(isUseful);
}
