import type { ServiceImpl } from "@connectrpc/connect";
import type { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { type AgentCaller, callerWithRole } from "../identity/caller.ts";
import { cutOffKey } from "../runtime/cut-off.ts";
import type { OpenStreams } from "../tokens/open-streams.ts";
import type { SessionParts } from "./agent-session.ts";
import { CommandWatch } from "./command-watch.ts";
import type { SessionRegistry } from "./session-registry.ts";

export interface WatchCommandsParts extends Pick<SessionParts, "commands" | "onError"> {
  readonly registry: SessionRegistry;
  readonly streams: OpenStreams;
  /** Gives the run its epoch; refuses one that was superseded. */
  enter(caller: AgentCaller, bootId: string): Promise<bigint>;
}

/** WatchCommands of AgentService: what an agent is to do, for one that says what it has to say by calls. */
export function createWatchCommandsRpc(
  parts: WatchCommandsParts,
): Pick<ServiceImpl<typeof AgentService>, "watchCommands"> {
  return {
    watchCommands({ bootId }, context) {
      // A caller of its own: it is confirmed again and again while the stream is open.
      const caller = { ...callerWithRole(context, "agent") };
      const watch = new CommandWatch(caller, parts, context.values.get(cutOffKey));
      // The agent says nothing by this stream, so that its going away shows by the signal alone.
      const { signal } = context;
      if (signal.aborted) watch.end(signal.reason);
      signal.addEventListener("abort", () => watch.end(signal.reason), { once: true });
      void accompany(watch, bootId, parts);
      return watch.messages;
    },
  };
}

/** From the stream's opening to its very end. Never rejects. */
async function accompany(watch: CommandWatch, bootId: string, parts: WatchCommandsParts): Promise<void> {
  const { registry, streams } = parts;
  const { tokenId, projectId, agentId } = watch.caller;
  const forget = streams.add({
    tokenId,
    projectId,
    agentId,
    confirm: (atMs) => watch.confirm(atMs),
    end: (reason) => watch.end(reason),
  });
  void begin(watch, bootId, parts);
  await watch.ended();
  forget();
  registry.removeWatch(watch);
}

async function begin(watch: CommandWatch, bootId: string, parts: WatchCommandsParts): Promise<void> {
  try {
    const run = bootId === "" ? undefined : { bootId, epoch: await parts.enter(watch.caller, bootId) };
    // Revoked or gone while the database was asked: such a stream must not end those that are in their right.
    if (watch.isClosed) return;
    parts.registry.addWatch(watch, run);
    watch.commands.wake();
  } catch (reason) {
    watch.end(reason);
  }
}
