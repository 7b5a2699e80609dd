/** Tells text in which there is something to decode, escaped or not. */
export const NEEDS_DECODING = /[%\u0080-\uffff]/;

/**
 * Decodes one piece of a request target (a path segment, a query name or value) from %XX escapes to text.
 * Undefined where an escape is malformed or the bytes are not UTF-8. With `keepSlash`, `%2F` stays as it came.
 */
export function decodePercent(raw: string, keepSlash = false): string | undefined {
  if (!NEEDS_DECODING.test(raw)) return raw;
  // Node hands over bytes that a client failed to escape as one character each; they are UTF-8 or nothing.
  if (/[\u0100-\uffff]/.test(raw)) return undefined;
  const escaped = raw.replace(/[\u0080-\u00ff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`);
  try {
    return decodeURIComponent(keepSlash ? escaped.replace(/%(2f)/gi, "%25$1") : escaped);
  } catch {
    return undefined;
  }
}
