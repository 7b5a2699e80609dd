/** A place in a message, linked to the one around it, so that it is only written out when something is wrong there. */
export type Path = { readonly parent: Path | undefined; readonly step: Step };

export type Step =
  | { readonly kind: "field"; readonly name: string }
  | { readonly kind: "index"; readonly index: number }
  | { readonly kind: "map-key"; readonly key: string }
  | { readonly kind: "json-key"; readonly key: string };

const identifier = /^[A-Za-z_][A-Za-z0-9_]*$/;
// Long enough to find the key again, short enough for an error's details.
const longestKey = 64;

/** Writes a path with the names of the proto file: `error.context.a[3].b`, `labels["zone"]`, `context["a b"]`. */
export function printPath(path: Path): string {
  const steps: string[] = [];
  for (let at: Path | undefined = path; at !== undefined; at = at.parent) steps.push(printStep(at.step));
  return steps.reverse().join("").replace(/^\./, "");
}

function printStep(step: Step): string {
  switch (step.kind) {
    case "field":
      return `.${step.name}`;
    case "index":
      return `[${step.index}]`;
    case "map-key":
      return quotedKey(step.key);
    case "json-key":
      return identifier.test(step.key) && step.key.length <= longestKey
        ? `.${step.key}`
        : quotedKey(step.key);
  }
}

/** JSON escapes NUL and lone surrogates, so that the path itself is fit to be sent. */
function quotedKey(key: string): string {
  return `[${JSON.stringify(key.length > longestKey ? `${key.slice(0, longestKey)}…` : key)}]`;
}
