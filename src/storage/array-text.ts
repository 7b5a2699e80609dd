/** PostgreSQL's text form of arrays: `{1,2}`, `{"a b",NULL}`, `{{1},{2}}`. */
export type ArrayOf<T> = (T | null | ArrayOf<T>)[];

/** Reads an array; `parse` reads one element that is not NULL. Lower bounds other than 1 are dropped. */
export function parseArrayText<T>(text: string, parse: (element: string) => T): ArrayOf<T> {
  const root: ArrayOf<T> = [];
  const open: ArrayOf<T>[] = [root];
  for (let at = text.indexOf("{"); at < text.length; ) {
    const char = text[at];
    if (char === "{") {
      open.push([]);
      at += 1;
    } else if (char === "}") {
      const done = open.pop() ?? root;
      (open.at(-1) ?? root).push(done);
      at += 1;
    } else if (char === ",") {
      at += 1;
    } else {
      const element = char === '"' ? readQuoted(text, at) : readBare(text, at);
      const isNull = char !== '"' && element.raw === "NULL";
      (open.at(-1) ?? root).push(isNull ? null : parse(element.raw));
      at = element.end;
    }
  }
  // Only the outermost array ended in the root, and it is an array.
  return root[0] as ArrayOf<T>;
}

/** Writes an array, whatever is in the elements; `format` writes one that is neither null nor an array. */
export function formatArrayText(values: readonly unknown[], format: (value: unknown) => string): string {
  const elements = values.map((value) => {
    if (value === null || value === undefined) return "NULL";
    if (Array.isArray(value)) return formatArrayText(value, format);
    return `"${format(value).replace(/["\\]/g, "\\$&")}"`;
  });
  return `{${elements.join(",")}}`;
}

function readQuoted(text: string, start: number): { raw: string; end: number } {
  let raw = "";
  for (let at = start + 1; at < text.length; at += 1) {
    if (text[at] === '"') return { raw, end: at + 1 };
    if (text[at] === "\\") at += 1;
    raw += text[at];
  }
  throw new Error("an array's text ends within quotes");
}

function readBare(text: string, start: number): { raw: string; end: number } {
  let end = start;
  while (end < text.length && text[end] !== "," && text[end] !== "}") end += 1;
  return { raw: text.slice(start, end), end };
}
