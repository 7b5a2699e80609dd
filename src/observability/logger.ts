import type { JsonValue } from "@bufbuild/protobuf";
import { type DestinationStream, type Logger, pino } from "pino";
import { describeError } from "./describe-error.ts";

export type { Logger };

export interface LoggerOptions {
  readonly level: string;
  /** A copy of a line's fields without their secrets: what someone logs by mistake must not reach the disk. */
  readonly scrub: (fields: JsonValue) => JsonValue;
  /** What is added to a line by where it is written. */
  readonly fields?: (() => object) | undefined;
  /** Hears of every line as well, as JSON. */
  readonly copy?: ((line: string) => void) | undefined;
  /** Standard error when left out. */
  readonly destination?: DestinationStream | undefined;
}

/** JSON lines without secrets; times are ISO 8601 in UTC. */
export function createLogger({ level, scrub, fields, copy, destination }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: null,
      serializers: { err: describeError },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      ...(fields !== undefined && { mixin: fields }),
      hooks: {
        streamWrite(line) {
          const scrubbed = `${JSON.stringify(scrub(JSON.parse(line)))}\n`;
          copy?.(scrubbed);
          return scrubbed;
        },
      },
    },
    destination ?? pino.destination({ dest: 2, sync: true }),
  );
}

/** For whoever reads along in a terminal: a line of words for each line of JSON, what is not in it below. */
export async function readable(
  out: NodeJS.WritableStream,
  { colours }: { colours: boolean },
): Promise<DestinationStream> {
  // Programs that read the log never need it.
  const { default: pretty } = await import("pino-pretty");
  return pretty({
    destination: out,
    colorize: colours,
    translateTime: "SYS:HH:MM:ss.l",
    singleLine: true,
    sync: true,
  });
}
