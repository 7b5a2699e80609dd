import type { SecretSpan } from "./secret-span.ts";

/*
 * Credentials that are known by their form, wherever they stand. Each pattern counts to a fixed number and never
 * repeats without end, so that no text makes the search slow; what is found reaches to the end of its run of
 * characters, since the rest of a token's run is no use to a reader.
 */
const shapes = [
  "drv_(?:agt|run|enr|opr|vwr)_[0-9A-Za-z]{8}", // our own
  "gh[pousr]_[A-Za-z0-9]{16}", // GitHub: personal, OAuth, user, server, refresh
  "github_pat_[A-Za-z0-9_]{16}",
  "gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent|oas)-[A-Za-z0-9_-]{12}", // GitLab
  "(?:AKIA|ASIA)[A-Z0-9]{16}", // AWS access key ids
  "xox[a-z]-[A-Za-z0-9-]{8}", // Slack
  "xapp-[0-9]-[A-Za-z0-9-]{8}",
  "whsec_[A-Za-z0-9]{16}", // Stripe, webhooks
  "AIza[A-Za-z0-9_-]{30}", // Google
  "ya29\\.[A-Za-z0-9_-]{16}",
  "pypi-[A-Za-z0-9_-]{32}",
  "dop_v1_[a-f0-9]{32}", // DigitalOcean
  "shp(?:at|ca|pa|ss)_[a-fA-F0-9]{24}", // Shopify
];
/** Forms whose beginning also ends common words: `task-…` is no `sk-…`. */
const shortShapes = [
  "sk-[A-Za-z0-9_-]{20}", // OpenAI, Anthropic
  "[sr]k_(?:live|test)_[A-Za-z0-9]{8}", // Stripe
  "npm_[A-Za-z0-9]{16}",
  "hf_[A-Za-z0-9]{24}", // Hugging Face
  "SG\\.[A-Za-z0-9_-]{16}", // SendGrid
];
const shapePattern = new RegExp(`${shapes.join("|")}|(?<![A-Za-z0-9])(?:${shortShapes.join("|")})`);
const runPattern = /[A-Za-z0-9_.-]{8,}/g;

/** Finds tokens of known issuers and JSON Web Tokens. */
export function findTokenShapes(text: string): SecretSpan[] {
  const spans: SecretSpan[] = [];
  for (const match of text.matchAll(runPattern)) {
    const run = withoutTrailingDots(match[0]);
    const at = earliest(run.search(shapePattern), jsonWebTokenAt(run));
    if (at >= 0) {
      spans.push({ start: match.index + at, end: match.index + run.length });
    }
  }
  return spans;
}

// `eyJ` is `{"` in base64: a header, then a dot and the payload, then a dot and perhaps a signature. Read by its
// parts and not by a pattern, which would look for the dots anew from every `eyJ`.
function jsonWebTokenAt(run: string): number {
  if (!run.includes("eyJ")) return -1;
  const parts = run.split(".");
  let offset = 0;
  for (const [index, part] of parts.entries()) {
    const at = part.search(/eyJ[A-Za-z0-9_-]{5}/);
    const payload = parts[index + 1] ?? "";
    if (at >= 0 && (payload.startsWith("eyJ") || (payload !== "" && parts.length > index + 2)))
      return offset + at;
    offset += part.length + 1;
  }
  return -1;
}

// A plain loop: a pattern for trailing dots would start anew from each dot of a long row.
function withoutTrailingDots(run: string): string {
  let end = run.length;
  while (run[end - 1] === ".") end--;
  return run.slice(0, end);
}

function earliest(a: number, b: number): number {
  if (a < 0 || b < 0) return Math.max(a, b);
  return Math.min(a, b);
}
