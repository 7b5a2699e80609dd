import { type Config, SettingError } from "../config.ts";
import type { Door } from "../doors/door.ts";
import type { Logger } from "../observability/logger.ts";

/** Whoever listens in on the way reads every token: that is said where a port can be reached from elsewhere. */
export function warnOfCleartext({ httpAddress, grpcAddress }: Config, logger: Logger): void {
  for (const [setting, { host }] of [
    ["DROVER_HTTP_ADDR", httpAddress],
    ["DROVER_GRPC_ADDR", grpcAddress],
  ] as const) {
    if (isLoopback(host)) continue;
    logger.warn(
      { setting, host },
      `${setting} can be reached from other machines without TLS: whoever listens on the way can read every token. ` +
        "Set DROVER_TLS_CERT and DROVER_TLS_KEY, or let nothing but a proxy that speaks TLS reach it.",
    );
  }
}

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);

/** Starts a door; where its address cannot be had, the sentence names the setting that chose it. */
export async function listening(setting: string, door: Door): Promise<void> {
  try {
    await door.start();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const reason = addressProblems.find(([code]) => text.includes(code))?.[1];
    if (reason === undefined) throw error;
    throw new SettingError([`${setting} names an address that ${reason}.`], error);
  }
}

/** grpc-js tells the system's code in its words alone. */
const addressProblems = [
  ["EADDRINUSE", "another program uses: stop that program, or choose another port"],
  ["EADDRNOTAVAIL", "this machine does not have"],
  ["EACCES", "this user may not use: ports below 1024 need a privilege"],
  ["ENOTFOUND", "no name service knows"],
  ["EAI_AGAIN", "no name service knows"],
] as const;
