import { computed, signal } from "@preact/signals";
import { forgetProject } from "./project.ts";

/** Who is signed in, in this tab: the token stays in the tab's session storage. */
export type Session =
  | { readonly kind: "signed-out"; readonly why?: string }
  | {
      readonly kind: "signed-in";
      readonly token: string;
      readonly role: "operator" | "viewer";
      /** The token was made for this sign-in, by a link, and ends with it. */
      readonly own: boolean;
    };

const KEY = "drover.session";
const roles = { opr: "operator", vwr: "viewer", agt: "agent", enr: "enrollment", run: "runner" } as const;

export const session = signal<Session>(restore());
export const isOperator = computed(
  () => session.value.kind === "signed-in" && session.value.role === "operator",
);

function restore(): Session {
  const stored = sessionStorage.getItem(KEY);
  if (stored === null) return { kind: "signed-out" };
  const own = stored.startsWith("own ");
  const token = own ? stored.slice(4) : stored;
  const role = roleOf(token);
  return role === "operator" || role === "viewer"
    ? { kind: "signed-in", token, role, own }
    : { kind: "signed-out" };
}

type Role = (typeof roles)[keyof typeof roles];

/** The role that a token's text names; undefined for what is no token. */
export function roleOf(token: string): Role | undefined {
  const code = /^drv_([a-z]{3})_[0-9a-f]{32}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$/.exec(token)?.[1];
  return Object.entries(roles).find(([each]) => each === code)?.[1];
}

/** The id under which the server lists a token. */
export function tokenIdOf(token: string): string {
  const hex = token.split("_")[2] ?? "";
  return `token_${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Signs in with a token; a sentence where its text shows that it cannot work. */
export function signInWith(text: string, own = false): string | undefined {
  const token = text.trim();
  if (token === "") return "Paste a token first.";
  const role = roleOf(token);
  if (role === undefined)
    return "This is not a whole Drover token: it begins with drv_ and is 91 characters long.";
  if (role !== "operator" && role !== "viewer")
    return `This token is for ${purposes[role]}. Signing in takes one of an operator or a viewer.`;
  sessionStorage.setItem(KEY, own ? `own ${token}` : token);
  session.value = { kind: "signed-in", token, role, own };
  return undefined;
}

const purposes = { agent: "one agent", enrollment: "enrolling agents", runner: "running passes" } as const;

/** Forgets the token; `why` is the sentence that the sign-in page shows. */
export function endSession(why?: string): void {
  sessionStorage.removeItem(KEY);
  forgetProject();
  session.value = { kind: "signed-out", ...(why !== undefined && { why }) };
}

/** Trades the code of a sign-in link for a token; a sentence where that failed. */
export async function signInByCode(code: string): Promise<string | undefined> {
  try {
    const answer = await fetch("/sign-in", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ code }),
    });
    if (answer.status === 401)
      return "This link was used before or is too old. Restart the server for a new one, or paste a token.";
    if (!answer.ok) return `The server could not sign you in (HTTP ${answer.status}).`;
    const { secret } = (await answer.json()) as { secret: string };
    return signInWith(secret, true);
  } catch {
    return "The server cannot be reached.";
  }
}
