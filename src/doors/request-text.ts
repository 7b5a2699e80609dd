/** How many levels of objects and arrays a JSON body may nest. */
export const MAX_JSON_DEPTH = 64;

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Decodes the text of a JSON request. Throws for bytes that are no UTF-8, which the library's own decoder would
 * replace unseen, and for a body that nests too deep, before anything recurses into it.
 */
export const requestTextDecoder = {
  decode(bytes: Uint8Array): string {
    const text = decoder.decode(bytes);
    if (jsonDepthExceeds(text, MAX_JSON_DEPTH))
      throw new Error(`the body nests deeper than ${MAX_JSON_DEPTH} levels`);
    return text;
  },
};

/** Whether JSON text nests deeper than `maxDepth`; brackets inside strings do not count. Text that is not JSON may give either answer. */
export function jsonDepthExceeds(text: string, maxDepth: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE:
        i = endOfString(text, i);
        break;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth += 1;
        if (depth > maxDepth) return true;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        depth -= 1;
        break;
    }
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACE = 0x7d;
const CLOSE_BRACKET = 0x5d;

function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end === -1 ? text.length : end;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes += 1;
  return backslashes % 2 === 1;
}
