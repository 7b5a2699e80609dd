import { type ContextKey, createContextKey, type HandlerContext } from "@connectrpc/connect";

/** What a token may do; fixed for each method in the method policy. */
export type Role = "agent" | "runner" | "enrollment" | "operator" | "viewer";

interface TokenHolder {
  projectId: string;
  /** The project's name. */
  project: string;
  tokenId: string;
  /** How the audit log names the caller: `agent:NAME` or `token:ID`. */
  actor: string;
  /** When its token was looked up, in ms of this process's monotonic clock. */
  authenticatedAtMs: number;
}

/** Who calls: always what the token says, never what a path or a body names. */
export type Caller =
  | (TokenHolder & { role: "agent"; agentId: string; agentName: string })
  | (TokenHolder & { role: "enrollment"; labels: Record<string, string> })
  | (TokenHolder & { role: "operator"; server: boolean })
  | (TokenHolder & { role: "runner" | "viewer" });

export type AgentCaller = Extract<Caller, { role: "agent" }>;
export type EnrollmentCaller = Extract<Caller, { role: "enrollment" }>;
export type OperatorCaller = Extract<Caller, { role: "operator" }>;

/** Set by the authentication interceptor before any handler runs. */
export const callerKey: ContextKey<Caller | undefined> = createContextKey<Caller | undefined>(undefined, {
  description: "the authenticated caller",
});

/** The caller of a method that needs a token. */
export function callerOf(context: Pick<HandlerContext, "values">): Caller {
  const caller = context.values.get(callerKey);
  if (caller === undefined) throw new Error("a handler ran without an authenticated caller");
  return caller;
}

/** The caller of a method that the policy leaves to one role. */
export function callerWithRole<R extends Caller["role"]>(
  context: Pick<HandlerContext, "values">,
  role: R,
): Extract<Caller, { role: R }> {
  const caller = callerOf(context);
  if (!hasRole(caller, role))
    throw new Error(`the method policy let ${caller.role} into a method of ${role}`);
  return caller;
}

function hasRole<R extends Caller["role"]>(caller: Caller, role: R): caller is Extract<Caller, { role: R }> {
  return caller.role === role;
}
