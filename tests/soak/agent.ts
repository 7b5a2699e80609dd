/** An agent in a process of its own, so that it can be frozen: it works on short tasks, and fails one now and then. */
import { setTimeout as pause } from "node:timers/promises";
import { AgentClient, memoryCredentialStore } from "../../src/agent-sdk/agent-client.ts";

const [kind = "", ...url] = process.argv.slice(2);
const client = new AgentClient({
  url,
  credentials: memoryCredentialStore(process.env.DROVER_TOKEN ?? ""),
  timing: { openMs: 3_000, silenceMs: 3_000, firstDelayMs: 100, longestDelayMs: 500 },
});
void client.work(
  {
    [kind]: async ({ id, attempt }, { signal }) => {
      await pause(200 + Math.random() * 400, undefined, { signal });
      if (Math.random() < 0.03) throw new Error("it did not work out");
      return { id, attempt };
    },
  },
  { slots: 3 },
);
process.on("disconnect", () => process.exit(0));
await client.start();
