import { toJson } from "@bufbuild/protobuf";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";
import { CopyButton } from "./copy.tsx";

/** JSON as text with its keys, texts and numbers told apart. */
export function JsonView({ value }: { value: unknown }) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  return (
    <div class="json">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls has to be reachable by keyboard */}
      <pre tabIndex={0}>{text.length > MOST_COLOURED ? text : coloured(text)}</pre>
      <CopyButton text={text} label="Copy the JSON" />
    </div>
  );
}

/** Beyond that, thousands of elements would only slow the page down. */
const MOST_COLOURED = 20_000;

function coloured(text: string) {
  return text
    .split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|-?\d[\d.eE+-]*|\btrue\b|\bfalse\b|\bnull\b)/)
    .map((part, index) => {
      if (index % 2 === 0) return part;
      const kind = part.endsWith(":") ? "key" : part.startsWith('"') ? "text" : "plain";
      return (
        <span key={index} class={`json-${kind}`}>
          {part}
        </span>
      );
    });
}

/** A google.protobuf.Value, or a word where there is none. */
export function ValueView({ value, none }: { value: Value | undefined; none: string }) {
  if (value === undefined || value.kind.case === undefined) return <p class="faint">{none}</p>;
  return <JsonView value={toJson(ValueSchema, value)} />;
}
