/**
 * Several agents in one process. Each holds a task until the process is told `finish`, and then does all that come. Their
 * sessions are the SDK's, without the thread that each has of its own otherwise: this process does nothing else.
 */
import { once } from "node:events";
import { AgentSession } from "../../src/agent-sdk/agent-session.ts";
import type { FromSession } from "../../src/agent-sdk/thread-messages.ts";

const [kind = "", ...url] = process.argv.slice(2);
const finished = once(process, "message");
process.on("disconnect", () => process.exit(0));
for (const token of (process.env.DROVER_TOKENS ?? "").split(",")) {
  const session = new AgentSession(
    {
      server: { url },
      credentials: { current: token, renewed: undefined },
      bootId: crypto.randomUUID(),
      profile: {},
      timing: { openMs: 10_000, silenceMs: 10_000, firstDelayMs: 100, longestDelayMs: 1_000 },
    },
    (said) => void hear(said, session),
  );
  session.handle({ kind: "slots", slots: 1, kinds: [kind] });
  void session.run();
}

async function hear(said: FromSession, session: AgentSession): Promise<void> {
  if (said.kind !== "task") return;
  await finished;
  session.handle({ kind: "outcome", lease: said.lease, outcome: { kind: "complete", result: "done" } });
}
