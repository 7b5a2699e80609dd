import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationMs, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AgentService,
  RotateTokenRequestSchema,
  RotateTokenResponseSchema,
} from "../../gen/drover/v1/agent_service_pb.js";
import {
  type CreateTokenRequest,
  CreateTokenRequestSchema,
  CreateTokenResponseSchema,
  RevokeTokenRequestSchema,
  RevokeTokenResponseSchema,
  TokenRole,
  TokenSchema,
  type TokenService,
} from "../../gen/drover/v1/token_service_pb.js";
import { answerOnce } from "../idempotency/answer-once.ts";
import { callerOf, callerWithRole, type Role } from "../identity/caller.ts";
import { messageSize } from "../runtime/message-size.ts";
import { invalidField } from "../runtime/refusal.ts";
import { formatId, parseId } from "../runtime/resource-id.ts";
import { type Db, inTransaction } from "../storage/database.ts";
import { cutPage, readPageRequest } from "../storage/page.ts";
import { createToken, freshSecret, requireToken, revokeToken, rotateToken } from "./token-service.ts";
import { listTokens, type TokenRecord } from "./token-store.ts";

const ENROLLMENT_TTL_MS = 3_600_000;

const roles = {
  [TokenRole.AGENT]: "agent",
  [TokenRole.RUNNER]: "runner",
  [TokenRole.ENROLLMENT]: "enrollment",
  [TokenRole.OPERATOR]: "operator",
  [TokenRole.VIEWER]: "viewer",
} satisfies Record<Exclude<TokenRole, TokenRole.UNSPECIFIED>, Role>;

const roleNumbers = {
  agent: TokenRole.AGENT,
  runner: TokenRole.RUNNER,
  enrollment: TokenRole.ENROLLMENT,
  operator: TokenRole.OPERATOR,
  viewer: TokenRole.VIEWER,
} satisfies Record<Role, TokenRole>;

/** TokenService. `onRevoked` hears of token ids after their revocation is committed. */
export function createTokenRpc(
  db: Db,
  onRevoked: (tokenIds: string[]) => void,
): ServiceImpl<typeof TokenService> {
  return {
    async createToken(request, context) {
      const caller = callerOf(context);
      return await answerOnce(db, {
        caller,
        method: "CreateToken",
        input: CreateTokenRequestSchema,
        request,
        output: CreateTokenResponseSchema,
        run: async (tx) => {
          const wish = {
            projectId: caller.projectId,
            actor: caller.actor,
            requestId: request.requestId,
            ...readWish(request),
          };
          const minted = await createToken(tx, wish);
          return {
            token: toMessage(await requireToken(tx, caller.projectId, minted.tokenId)),
            secret: minted.text,
          };
        },
        secret: {
          hide: (answer) => ({ ...answer, secret: "" }),
          renew: async (tx, remembered) => {
            const token = await requireToken(tx, caller.projectId, uuidOf(remembered.token?.id ?? ""));
            return { token: toMessage(token), secret: await freshSecret(tx, token, caller.actor) };
          },
        },
      });
    },

    async listTokens(request, context) {
      const { projectId } = callerOf(context);
      const { role, agent, orderBy } = request;
      const page = readPageRequest(
        request.pageSize,
        request.pageToken,
        ["instant", "uuid"],
        [role, agent, orderBy],
      );
      const filter = {
        projectId,
        roles: role.map(roleOf),
        ...(agent !== "" && { agent }),
        oldestFirst: orderBy === "created_at",
      };
      const { rows, nextPageToken } = cutPage(
        await listTokens(db, filter, page),
        page,
        (row) => [row.sortTime, row.id],
        (row) => messageSize(TokenSchema, toMessage(row)),
      );
      return { tokens: rows.map(toMessage), nextPageToken };
    },

    async getToken(request, context) {
      const { projectId } = callerOf(context);
      const token = await inTransaction(db, (tx) => requireToken(tx, projectId, uuidOf(request.token)));
      return { token: toMessage(token) };
    },

    async revokeToken(request, context) {
      const caller = callerOf(context);
      let revoked: string[] = [];
      const answer = await answerOnce(db, {
        caller,
        method: "RevokeToken",
        input: RevokeTokenRequestSchema,
        request,
        output: RevokeTokenResponseSchema,
        run: async (tx) => {
          revoked = await revokeToken(tx, caller, uuidOf(request.token), request.requestId);
          return {};
        },
      });
      onRevoked(revoked);
      return answer;
    },
  };
}

/** RotateToken of AgentService. */
export function createRotateTokenRpc(
  db: Db,
  agentTokenTtlMs: number,
): Pick<ServiceImpl<typeof AgentService>, "rotateToken"> {
  return {
    async rotateToken(request, context) {
      const caller = callerWithRole(context, "agent");
      const rotate = (requestId: string) => async (tx: Parameters<typeof rotateToken>[0]) => ({
        secret: (await rotateToken(tx, caller, agentTokenTtlMs, requestId)).text,
      });
      return await answerOnce(db, {
        caller,
        method: "RotateToken",
        input: RotateTokenRequestSchema,
        request,
        output: RotateTokenResponseSchema,
        run: rotate(request.requestId),
        // The slot for a renewal still holds the token of the first answer; minting again replaces its secret.
        secret: { hide: () => ({}), renew: rotate(request.requestId) },
      });
    },
  };
}

function readWish(request: CreateTokenRequest): {
  role: Role;
  maxUses: number;
  labels: Record<string, string>;
  ttlMs: number | undefined;
} {
  const role = roleOf(request.role);
  if (role !== "enrollment" && request.maxUses !== 0)
    throw invalidField("max_uses", "is for enrollment tokens alone");
  const maxUses = role === "enrollment" ? request.maxUses || 1 : 0;
  const ttlMs = request.ttl === undefined ? undefined : durationMs(request.ttl);
  return {
    role,
    maxUses,
    labels: request.labels,
    ttlMs: ttlMs ?? (role === "enrollment" ? ENROLLMENT_TTL_MS : undefined),
  };
}

function roleOf(role: TokenRole): Role {
  if (role === TokenRole.UNSPECIFIED) throw invalidField("role", "is needed");
  return roles[role];
}

function uuidOf(tokenId: string): string {
  const uuid = parseId("token", tokenId);
  if (uuid === undefined) throw invalidField("token", "must be token_ and a UUID");
  return uuid;
}

function toMessage(token: TokenRecord): MessageInitShape<typeof TokenSchema> {
  return {
    id: formatId("token", token.id),
    role: roleNumbers[token.role],
    labels: token.labels,
    agent: token.agentName ?? "",
    maxUses: token.maxUses,
    uses: token.uses,
    createdAt: timestampFromDate(token.createdAt),
    ...(token.expiresAt !== null && { expiresAt: timestampFromDate(token.expiresAt) }),
    ...(token.revokedAt !== null && { revokedAt: timestampFromDate(token.revokedAt) }),
    ...(token.lastUsedAt !== null && { lastUsedAt: timestampFromDate(token.lastUsedAt) }),
  };
}
