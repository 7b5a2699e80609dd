import type { AgentClient } from "../../agent-sdk/agent-client.ts";

/**
 * SIGINT or SIGTERM: no more tasks, those under way come to their end, goodbye. Once more: those under way are told
 * to stop. Once more still: the process ends at once, and the guard ends what it leaves.
 */
export function leaveOnSignals(client: AgentClient, say: (text: string) => void): () => void {
  let count = 0;
  const onSignal = () => {
    count += 1;
    if (count === 1) {
      say("Taking no more tasks; what is under way comes to its end. Once more stops it.");
      void client.leave();
    } else if (count === 2) {
      say("Stopping what is under way. Once more ends the agent at once.");
      client.stopWork();
    } else process.exit(1);
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return () => process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
}
