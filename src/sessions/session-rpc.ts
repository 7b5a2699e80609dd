import type { ServiceImpl } from "@connectrpc/connect";
import type { AgentService, SessionRequest } from "../../gen/drover/v1/agent_service_pb.js";
import { type AgentCaller, callerKey, callerWithRole } from "../identity/caller.ts";
import { cutOffKey } from "../runtime/cut-off.ts";
import { renewalDueKey } from "../tokens/authenticate.ts";
import type { OpenStreams } from "../tokens/open-streams.ts";
import { AgentSession, type SessionParts } from "./agent-session.ts";
import { Conversation, type ConversationParts } from "./conversation.ts";
import { RenewalDue } from "./renewal-due.ts";

export interface SessionRpcParts extends SessionParts, ConversationParts {
  readonly commands: SessionParts["commands"];
  readonly streams: OpenStreams;
  /** Milliseconds until the agent is due for a new token, 0 from then on; undefined: never. */
  renewalDueMs(caller: AgentCaller): Promise<number | undefined>;
}

/** Session of AgentService: everything that an agent can do, over one stream in both directions. */
export function createSessionRpc(parts: SessionRpcParts): Pick<ServiceImpl<typeof AgentService>, "session"> {
  return {
    session(requests, context) {
      // A caller of its own: it is confirmed again and again while the stream is open.
      const caller = { ...callerWithRole(context, "agent") };
      context.values.set(callerKey, caller);
      const session = new AgentSession(caller, parts, context.values.get(cutOffKey));
      const renewalDue = new RenewalDue(context.values.get(renewalDueKey), () => parts.renewalDueMs(caller));
      parts.registry.add(session);
      void accompany(session, new Conversation(session, context, renewalDue, parts), requests, parts);
      return session.messages;
    },
  };
}

/** From the stream's first message to its very end. Never rejects. */
async function accompany(
  session: AgentSession,
  conversation: Conversation,
  requests: AsyncIterable<SessionRequest>,
  { registry, streams }: SessionRpcParts,
): Promise<void> {
  const { tokenId, projectId, agentId } = session.caller;
  const forget = streams.add({
    tokenId,
    projectId,
    agentId,
    confirm: (atMs) => session.confirm(atMs),
    end: (reason) => session.end(reason),
  });
  // A stream that is ended by its token waits no more for what the agent has to say.
  void conversation.run(requests);
  await session.ended();
  forget();
  registry.remove(session);
}
