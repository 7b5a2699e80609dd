/** Entry of the thread that keeps the session: whatever the main thread is busy with, heartbeats go out from here. */
import { type MessagePort, workerData } from "node:worker_threads";
import { AgentSession, type SessionSettings } from "./agent-session.ts";
import type { ToSession } from "./thread-messages.ts";

// What SessionThread, the only one to start this, hands over.
const { settings, port } = workerData as { settings: SessionSettings; port: MessagePort };

const session = new AgentSession(settings, (message) => port.postMessage(message));
port.on("message", (message: ToSession) => session.handle(message));
const end = await session.run();
port.postMessage({ kind: "ended", end });
port.close();
