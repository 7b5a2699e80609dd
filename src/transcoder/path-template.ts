import { decodePercent } from "./percent-decoding.ts";

/** A variable of a template: its field, its own segments, and its place `[start, end)` in the flat list. */
export interface TemplateVariable {
  fieldPath: string;
  segments: string[];
  start: number;
  end: number;
}

/** A parsed template. `segments` is flat: `*`, `**`, or a literal as it was written, escapes included. */
export interface PathTemplate {
  segments: string[];
  verb?: string;
  variables: TemplateVariable[];
}

/** A template that does not parse: the message says why, `position` where (characters from 0). */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
  readonly position: number;

  constructor(template: string, position: number, why: string) {
    super(`path template ${JSON.stringify(template)}, at character ${position}: ${why}`);
    this.position = position;
  }
}

/**
 * Parses a google.api.http path template, `"/" Segments [ ":" Verb ]`.
 * Throws a TemplateError that says where and why.
 */
export function parsePathTemplate(text: string): PathTemplate {
  return new TemplateParser(text).parse();
}

// pchar of RFC 3986 without `*`, which only stands for itself as a wildcard; escapes are read apart.
const LITERAL = /[-._~A-Za-z0-9!$&'()+,;=:@]/;
const IDENTIFIER = /[A-Za-z_][A-Za-z0-9_]*/y;

class TemplateParser {
  readonly #text: string;
  #position = 0;
  readonly #segments: string[] = [];
  readonly #variables: TemplateVariable[] = [];
  #verb: string | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): PathTemplate {
    this.#expect("/", "a template begins with a slash");
    this.#readSegment();
    while (this.#peek() === "/") {
      this.#position++;
      this.#readSegment();
    }
    if (this.#peek() === ":") this.#readVerb();
    if (this.#peek() !== "") {
      this.#fail(`expected "/", ":" or the end, found ${JSON.stringify(this.#peek())}`);
    }
    const template = { segments: this.#segments, variables: this.#variables };
    return this.#verb === undefined ? template : { ...template, verb: this.#verb };
  }

  #readSegment(): void {
    if (this.#segments.at(-1) === "**") this.#fail("nothing but a verb can follow **");
    if (this.#peek() === "{") this.#readVariable();
    else if (this.#peek() === "*") this.#readWildcard();
    else this.#readLiteralSegment();
  }

  #readWildcard(): void {
    const wildcard = this.#text.startsWith("**", this.#position) ? "**" : "*";
    this.#position += wildcard.length;
    this.#segments.push(wildcard);
  }

  /** A literal outside a variable. A colon may stand in it; in the last segment the last one begins the verb. */
  #readLiteralSegment(): void {
    const start = this.#position;
    const literal = this.#readLiteral(true);
    const colon = this.#peek() === "" ? literal.lastIndexOf(":") : -1;
    if (colon >= 0) this.#position = start + colon;
    const segment = colon >= 0 ? literal.slice(0, colon) : literal;
    if (segment === "") this.#fail("a segment is empty");
    this.#segments.push(segment);
  }

  #readVariable(): void {
    const opening = this.#position;
    this.#position++;
    const fieldPath = this.#readFieldPath();
    if (this.#variables.some((variable) => variable.fieldPath === fieldPath)) {
      this.#fail(`the field ${fieldPath} is bound twice`, opening);
    }
    const start = this.#segments.length;
    if (this.#peek() === "=") {
      do {
        this.#position++;
        this.#readVariableSegment();
      } while (this.#peek() === "/");
    } else {
      this.#segments.push("*");
    }
    if (this.#peek() === ":") this.#fail("a colon cannot stand inside a variable");
    this.#expect("}", "the variable is not closed");
    const end = this.#segments.length;
    this.#variables.push({ fieldPath, segments: this.#segments.slice(start), start, end });
  }

  #readVariableSegment(): void {
    if (this.#segments.at(-1) === "**") this.#fail("nothing but a verb can follow **");
    if (this.#peek() === "{") this.#fail("a variable cannot stand inside a variable");
    if (this.#peek() === "*") {
      this.#readWildcard();
      return;
    }
    const literal = this.#readLiteral(false);
    if (literal === "") this.#fail("a segment is empty");
    this.#segments.push(literal);
  }

  #readFieldPath(): string {
    const start = this.#position;
    do {
      if (this.#position > start) this.#position++;
      IDENTIFIER.lastIndex = this.#position;
      if (!IDENTIFIER.test(this.#text)) this.#fail("expected the name of a field");
      this.#position = IDENTIFIER.lastIndex;
    } while (this.#peek() === ".");
    return this.#text.slice(start, this.#position);
  }

  #readVerb(): void {
    this.#position++;
    const verb = this.#readLiteral(true);
    if (verb === "") this.#fail("the verb is empty");
    if (this.#peek() === "/") this.#fail("nothing can follow the verb");
    this.#verb = verb;
  }

  #readLiteral(allowColon: boolean): string {
    const start = this.#position;
    for (let next = this.#peek(); next !== ""; next = this.#peek()) {
      if (next === "%") this.#readEscape();
      else if (LITERAL.test(next) && (allowColon || next !== ":")) this.#position++;
      else break;
    }
    const literal = this.#text.slice(start, this.#position);
    if (decodePercent(literal) === undefined) this.#fail("the escaped bytes are not UTF-8", start);
    return literal;
  }

  #readEscape(): void {
    if (!/^%[0-9A-Fa-f]{2}$/.test(this.#text.slice(this.#position, this.#position + 3))) {
      this.#fail("% must be followed by two hexadecimal digits");
    }
    this.#position += 3;
  }

  #peek(): string {
    return this.#text.charAt(this.#position);
  }

  #expect(character: string, why: string): void {
    if (this.#peek() !== character) this.#fail(why);
    this.#position++;
  }

  #fail(why: string, position = this.#position): never {
    throw new TemplateError(this.#text, position, why);
  }
}
