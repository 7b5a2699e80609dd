import { invalidField } from "./refusal.ts";

/** The labels that a filter's `key=value` texts ask for, all at once; validation has refused texts that are none. */
export function labelFilterOf(texts: readonly string[]): Record<string, string> {
  const wanted = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf("=");
    const [key, value] = [text.slice(0, at), text.slice(at + 1)];
    // The last one alone would find what does not fit, and calls that change what a filter finds would change that.
    if ((wanted.get(key) ?? value) !== value)
      throw invalidField("labels", `asks for two values of ${JSON.stringify(key)}, and nothing has both`);
    wanted.set(key, value);
  }
  return Object.fromEntries(wanted);
}
