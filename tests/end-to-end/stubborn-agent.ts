/**
 * An agent whose work ends only when it is told to stop, and then has a result all the same. Prints what it sees as
 * lines of JSON.
 */
import { once } from "node:events";
import {
  AgentClient,
  enrollAgent,
  memoryCredentialStore,
  WorkStopped,
} from "../../src/agent-sdk/agent-client.ts";

const say = (line: Record<string, unknown>) => console.log(JSON.stringify(line));
const url = `http://${process.env.DROVER_GRPC_URL}`;
const [name = ""] = process.argv.slice(2);
const enrollmentToken = process.env.DROVER_TOKEN ?? "";
const client = new AgentClient({
  url,
  credentials: memoryCredentialStore(await enrollAgent({ url, name, enrollmentToken, nonce: "first" })),
  onEvent: (event) => {
    if (event.kind === "taskRefused") say({ saw: "refusal", reason: event.reason });
  },
});
void client.work({
  stubborn: async (_task, { signal }) => {
    say({ saw: "task" });
    if (!signal.aborted) await once(signal, "abort");
    say({ saw: "signal", reason: signal.reason instanceof WorkStopped ? signal.reason.reason : "" });
    return "mine";
  },
});
await client.start();
