import type { Interceptor } from "@connectrpc/connect";
import { type Peer, peerKey } from "../doors/door.ts";
import { type Caller, callerKey } from "../identity/caller.ts";
import { invalidField, Refusal } from "../runtime/refusal.ts";
import { type Authentication, renewalDueKey } from "../tokens/authenticate.ts";
import type { CallRates } from "./call-rates.ts";
import type { CheckCertificate } from "./check-certificate.ts";
import type { GuessLimiter } from "./guess-limiter.ts";
import { type MethodPolicy, policyOf } from "./method-policy.ts";

const PROJECT_HEADER = "x-drover-project";
const projectName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** What the access rules ask of the slices below. */
export interface AccessControl {
  /** Who the authorization header speaks for; refuses with UNAUTHENTICATED. */
  authenticate(authorization: string | null, mayRenew: boolean): Promise<Authentication>;
  findProject(name: string): Promise<{ id: string; name: string } | undefined>;
  /** Refuses a caller whose token was revoked while the call was served. */
  confirm(caller: Caller): Promise<void>;
  /** A call from there brought a valid token. */
  proved(peer: Peer): void;
  /** Refuses a caller whose connection's certificate speaks for somebody else; undefined where none is asked for. */
  checkCertificate: CheckCertificate | undefined;
  /** A token was accepted. */
  used(tokenId: string): void;
}

/**
 * Lets a call through to its method if the policy allows its caller, and tells the method who that is. Whoever calls
 * too often is told so before anything else costs time, and again once their token is known.
 */
export function createAccessInterceptor(
  access: AccessControl,
  limiter: GuessLimiter,
  rates: CallRates,
): Interceptor {
  return (next) => async (request) => {
    const policy = policyOf(request.method);
    if (policy === undefined) throw new Refusal("permission-denied", "this method is not open to anyone");
    const peer = request.contextValues.get(peerKey);
    rates.fromAddress(peer.address, performance.now());
    if (policy.roles === "anyone") return await next(request);
    const authentication = await authenticateWithin(access, limiter, peer.address, request.header, policy);
    access.proved(peer);
    await access.checkCertificate?.(peer, authentication.caller);
    rates.byToken(authentication.tokenId, performance.now());
    const caller = await inNamedProject(access, authentication.caller, request.header.get(PROJECT_HEADER));
    if (!policy.roles.includes(caller.role)) {
      throw new Refusal(
        "permission-denied",
        `a token of role ${caller.role} may not call ${request.method.name}`,
      );
    }
    access.used(authentication.tokenId);
    request.contextValues.set(callerKey, caller);
    request.contextValues.set(renewalDueKey, authentication.renewalDue);
    const response = await next(request);
    // What changes anything asks this in its transaction, where a refusal still undoes the change.
    if (policy.audit === "reads") await access.confirm(caller);
    return response;
  };
}

async function authenticateWithin(
  access: AccessControl,
  limiter: GuessLimiter,
  address: string,
  header: Headers,
  policy: MethodPolicy,
): Promise<Authentication> {
  try {
    return await access.authenticate(header.get("authorization"), policy.expiredTokenMayCall ?? false);
  } catch (error) {
    if (!(error instanceof Refusal) || error.kind !== "unauthenticated") throw error;
    const waitMs = limiter.failed(address, performance.now());
    if (waitMs === undefined) throw error;
    throw new Refusal("resource-exhausted", "too many calls without a valid token", { retryAfterMs: waitMs });
  }
}

/** The server's own operator token may speak for any project; every other token for its own alone. */
async function inNamedProject(access: AccessControl, caller: Caller, name: string | null): Promise<Caller> {
  if (name === null || name === caller.project) return caller;
  if (!projectName.test(name)) throw invalidField(PROJECT_HEADER, "must be a project's name");
  if (caller.role !== "operator" || !caller.server) {
    throw new Refusal(
      "permission-denied",
      `this token belongs to another project than the one that ${PROJECT_HEADER} names`,
    );
  }
  const project = await access.findProject(name);
  if (project === undefined) throw new Refusal("not-found", `no project named ${name}`);
  return { ...caller, projectId: project.id, project: project.name };
}
