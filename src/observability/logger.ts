import { type DestinationStream, type Logger, pino } from "pino";
import { describeError } from "./describe-error.ts";

export type { Logger };

/** JSON lines on the given stream, by default standard error; times are ISO 8601 in UTC. */
export function createLogger(
  level: string,
  destination: DestinationStream = pino.destination({ dest: 2, sync: true }),
): Logger {
  return pino(
    {
      level,
      base: null,
      serializers: { err: describeError },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      // A header of authorization or a token field that someone logs by mistake must not reach the disk.
      redact: {
        paths: ["authorization", "*.authorization", "token", "*.token", "secret", "*.secret"],
        censor: "[REDACTED]",
      },
    },
    destination,
  );
}
