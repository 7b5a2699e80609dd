/** Several agents in one process. Each holds a task until the process is told `finish`, and then does all that come. */
import { once } from "node:events";
import { AgentClient, memoryCredentialStore } from "../../src/agent-sdk/agent-client.ts";

const [kind = "", ...url] = process.argv.slice(2);
const finished = once(process, "message");
process.on("disconnect", () => process.exit(0));
const tokens = (process.env.DROVER_TOKENS ?? "").split(",");
await Promise.all(
  tokens.map(async (token) => {
    const client = new AgentClient({ url, credentials: memoryCredentialStore(token) });
    void client.work({ [kind]: () => finished.then(() => "done") });
    await client.start();
  }),
);
