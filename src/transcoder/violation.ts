/** One thing wrong with a request: the field's path, as the caller wrote it, and what is wrong with it. */
export interface Violation {
  field: string;
  description: string;
}

/** More than these are not listed: an answer must not grow far beyond the request that it refuses. */
export const MAX_VIOLATIONS = 100;

/** A request that cannot be bound to its message. Lists everything that is wrong with it. */
export class BindingError extends Error {
  override readonly name = "BindingError";
  readonly violations: Violation[];

  constructor(violations: Violation[]) {
    super(violations.map(printViolation).join("; "));
    this.violations = violations;
  }
}

function printViolation({ field, description }: Violation): string {
  return field === "" ? description : `${field}: ${description}`;
}

/** The path of a member of an object: `parent.key`, or `parent["key"]` where the key is not a plain name. */
export function memberPath(parent: string, key: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(key)) return `${parent}[${JSON.stringify(key)}]`;
  return parent === "" ? key : `${parent}.${key}`;
}

/** The path of an item of a list: `parent[index]`. */
export function itemPath(parent: string, index: number): string {
  return `${parent}[${index}]`;
}

/** What is wrong with a text that no database takes: NUL or half of a surrogate pair. Undefined if nothing is. */
export function findBadText(text: string): string | undefined {
  if (text.includes("\0")) return "contains the character U+0000";
  if (!text.isWellFormed()) return "contains half of a surrogate pair";
  return undefined;
}
