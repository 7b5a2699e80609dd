import type { DescMessage, JsonValue, Message, MessageShape } from "@bufbuild/protobuf";
import type { Duration, ListValue, Struct, Timestamp, Value } from "@bufbuild/protobuf/wkt";
import type { Violation } from "../runtime/refusal.ts";
import { durationProblem, timestampProblem } from "./check-time.ts";
import { type JsonLevel, levelOfJson, levelOfTree } from "./json-tree.ts";
import { type Content, type FieldCheck, type MessagePlan, messagePlan } from "./message-plan.ts";
import { type Path, printPath } from "./violation-path.ts";

/*
 * What no field of any message may hold, since neither the database nor JSON takes it: NUL and lone surrogates in
 * texts and keys, numbers that are not finite, times beyond the calendar, JSON that is nested too deep. Looks at every message without calling
 * itself, whatever its depth.
 */

export type MessageLimits = {
  /** Objects and arrays within one another that a JSON field may hold, the field's own root counted. */
  readonly jsonLevels: number;
  /** After so many violations the search ends. */
  readonly violations: number;
};

export const defaultMessageLimits: MessageLimits = { jsonLevels: 32, violations: 100 };

/** Every violation in the message, up to the limit, outer fields first. */
export function findTextViolations<Desc extends DescMessage>(
  desc: Desc,
  message: MessageShape<Desc>,
  limits: MessageLimits = defaultMessageLimits,
): Violation[] {
  const walk = new Walk(limits);
  walk.start(desc, message);
  return walk.found;
}

type Work =
  | {
      readonly kind: "message";
      readonly plan: MessagePlan;
      readonly message: Message;
      readonly path: Path | undefined;
    }
  | {
      readonly kind: "json";
      readonly level: JsonLevel;
      readonly depth: number;
      readonly path: Path | undefined;
    };

class Walk {
  readonly found: Violation[] = [];
  readonly #limits: MessageLimits;
  readonly #work: Work[] = [];

  constructor(limits: MessageLimits) {
    this.#limits = limits;
  }

  start(desc: DescMessage, message: Message): void {
    if (isTree(message)) this.#addJson(levelOfTree(message), 1, undefined);
    else this.#addMessage(messagePlan(desc), message, undefined);
    // The list grows while it is walked; first come, first served keeps outer fields first.
    for (let next = 0; next < this.#work.length && this.found.length < this.#limits.violations; next++) {
      const work = this.#work[next];
      if (work?.kind === "message") this.#checkMessage(work.plan, work.message, work.path);
      else if (work?.kind === "json") this.#checkJson(work.level, work.depth, work.path);
    }
  }

  #checkMessage(plan: MessagePlan, message: Message, parent: Path | undefined): void {
    for (const check of plan.checks) {
      const value = fieldValue(message, check);
      if (value === undefined) continue;
      const path: Path = { parent, step: check.step };
      if (check.field.fieldKind === "list") this.#checkList(check, value, path);
      else if (check.field.fieldKind === "map") this.#checkMap(check, value, path);
      else this.#checkContent(check.content, value, path);
    }
  }

  #checkList(check: FieldCheck, values: unknown, parent: Path): void {
    if (!Array.isArray(values)) return;
    for (let index = 0; index < values.length; index++) {
      this.#checkContent(check.content, values[index], { parent, step: { kind: "index", index } });
    }
  }

  #checkMap(check: FieldCheck, values: unknown, parent: Path): void {
    if (typeof values !== "object" || values === null) return;
    for (const [key, value] of Object.entries(values)) {
      const path: Path = { parent, step: { kind: "map-key", key } };
      if (check.textKeys) this.#checkText(key, path, "key ");
      this.#checkContent(check.content, value, path);
    }
  }

  #checkContent(content: Content, value: unknown, path: Path): void {
    switch (content.kind) {
      case "text":
      case "number":
        this.#checkScalar(value, path);
        break;
      case "time":
        // The descriptor says that a Timestamp stands here.
        this.#reportProblem(timestampProblem(value as Timestamp), path);
        break;
      case "duration":
        // The descriptor says that a Duration stands here.
        this.#reportProblem(durationProblem(value as Duration), path);
        break;
      case "json":
        // The runtime keeps a Struct as the JSON object that it stands for.
        this.#addJson(levelOfJson(value as JsonValue), 1, path);
        break;
      case "tree":
        // The descriptor says that a Value or ListValue stands here.
        this.#addJson(levelOfTree(value as Value | ListValue), 1, path);
        break;
      case "message":
        // The descriptor says that a message stands here.
        this.#addMessage(content.plan, value as Message, path);
        break;
      case "nothing":
        break;
    }
  }

  #addMessage(plan: MessagePlan, message: Message, path: Path | undefined): void {
    if (plan.checks.length > 0) this.#work.push({ kind: "message", plan, message, path });
  }

  #addJson(level: JsonLevel, depth: number, path: Path | undefined): void {
    if (level.kind === "scalar") this.#checkScalar(level.value, path);
    else if (depth <= this.#limits.jsonLevels) this.#work.push({ kind: "json", level, depth, path });
    else this.#report(path, `must not be nested deeper than ${this.#limits.jsonLevels} levels`);
  }

  #checkJson(level: JsonLevel, depth: number, parent: Path | undefined): void {
    if (level.kind === "list") {
      for (let index = 0; index < level.size; index++) {
        this.#addJson(level.child(index), depth + 1, { parent, step: { kind: "index", index } });
      }
    } else if (level.kind === "object") {
      for (const key of level.keys) {
        const path: Path = { parent, step: { kind: "json-key", key } };
        this.#checkText(key, path, "key ");
        this.#addJson(level.child(key), depth + 1, path);
      }
    }
  }

  #checkScalar(value: unknown, path: Path | undefined): void {
    if (typeof value === "string") this.#checkText(value, path, "");
    else if (typeof value === "number" && !Number.isFinite(value)) {
      this.#report(path, "must be a finite number");
    }
  }

  #checkText(text: string, path: Path | undefined, what: "" | "key "): void {
    if (text.includes("\0")) this.#report(path, `${what}must not contain NUL`);
    if (!text.isWellFormed()) this.#report(path, `${what}must not contain lone surrogates`);
  }

  #reportProblem(problem: string | undefined, path: Path): void {
    if (problem !== undefined) this.#report(path, problem);
  }

  #report(path: Path | undefined, description: string): void {
    if (this.found.length >= this.#limits.violations) return;
    this.found.push({ field: path === undefined ? "" : printPath(path), description });
  }
}

function fieldValue(message: Message, { field }: FieldCheck): unknown {
  // Messages are plain objects with a property for each field and each oneof; only their own type names them.
  const properties = message as unknown as Readonly<Record<string, unknown>>;
  if (field.oneof === undefined) return properties[field.localName];
  const group = properties[field.oneof.localName] as
    | { readonly case?: string; readonly value?: unknown }
    | undefined;
  return group?.case === field.localName ? group.value : undefined;
}

function isTree(message: Message): message is Value | ListValue | Struct {
  const { $typeName } = message;
  return (
    $typeName === "google.protobuf.Value" ||
    $typeName === "google.protobuf.ListValue" ||
    $typeName === "google.protobuf.Struct"
  );
}
