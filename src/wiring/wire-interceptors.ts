import type { Interceptor } from "@connectrpc/connect";
import { findAgentId } from "../agents/agent-service.ts";
import type { Config } from "../config.ts";
import type { ConnectionGate } from "../doors/connection-gate.ts";
import type { Peer } from "../doors/door.ts";
import type { Caller } from "../identity/caller.ts";
import { confirmCaller } from "../identity/confirm-caller.ts";
import type { Logger } from "../observability/logger.ts";
import { findProjectByName } from "../projects/project-store.ts";
import { createAccessInterceptor } from "../rpc/access-interceptor.ts";
import type { CallMetrics } from "../rpc/call-metrics.ts";
import { CallRates } from "../rpc/call-rates.ts";
import { type CheckCertificate, createCertificateCheck } from "../rpc/check-certificate.ts";
import { createErrorInterceptor } from "../rpc/error-interceptor.ts";
import { GuessLimiter } from "../rpc/guess-limiter.ts";
import type { ValidateMessage } from "../rpc/validate-message.ts";
import { createValidationInterceptor } from "../rpc/validation-interceptor.ts";
import type { Database } from "../storage/database.ts";
import { authenticate } from "../tokens/authenticate.ts";
import type { LastUsedRecorder } from "../tokens/last-used.ts";
import { createTokenFinder } from "../tokens/token-finder.ts";

/** What every call goes through, the outermost first. */
export function createInterceptors(
  database: Database,
  config: Config,
  logger: Logger,
  validate: ValidateMessage,
  guards: {
    lastUsed: LastUsedRecorder;
    gate: ConnectionGate;
    checkCertificate: CheckCertificate | undefined;
    calls: CallMetrics;
  },
): Interceptor[] {
  const { db } = database;
  const { lastUsed, gate, checkCertificate, calls } = guards;
  const tokens = { db, find: createTokenFinder(db) };
  const access = {
    authenticate: (authorization: string | null, mayRenew: boolean) =>
      authenticate(tokens, authorization, mayRenew),
    findProject: (name: string) => findProjectByName(db, name),
    confirm: (caller: Caller) => confirmCaller(db, caller),
    proved: ({ address, port }: Peer) => gate.prove(address, port),
    checkCertificate,
    used: (tokenId: string) => lastUsed.used(tokenId),
  };
  const rates = new CallRates({
    perToken: config.maxCallsPerToken,
    perAddress: config.maxCallsPerAddress,
    inAll: config.maxCalls,
  });
  return [
    createErrorInterceptor((method, error) => logger.error({ err: error, method }, "a call failed"), calls),
    createAccessInterceptor(access, new GuessLimiter(), rates),
    createValidationInterceptor(validate),
  ];
}

/** Whether a client's certificate is that of an agent of the project. */
export function createCertificateCheckOn(db: Database["db"]): CheckCertificate {
  return createCertificateCheck(
    async (projectId, name) => (await findAgentId(db, projectId, name)) !== undefined,
  );
}
