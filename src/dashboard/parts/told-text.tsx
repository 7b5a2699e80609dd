import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { clockTime, fullTime } from "../format.ts";
import { serverNow } from "../live/clock.ts";
import { TimeAgo } from "./time-ago.tsx";

const TIME = /(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z)/;

const DAY_MS = 86_400_000;

/** A sentence of the server's, its moments told as people say them: "last heard 2 min ago", "since 14:03:12". */
export function ToldText({ text }: { text: string }) {
  return (
    <>
      {text.split(TIME).map((part, index, parts) => {
        const ms = index % 2 === 1 ? Date.parse(part) : Number.NaN;
        if (Number.isNaN(ms)) return part;
        if (!/\bsince $/.test(parts[index - 1] ?? ""))
          return <TimeAgo key={index} time={timestampFromMs(ms)} />;
        return (
          <time key={index} dateTime={part} title={fullTime(ms)}>
            {serverNow() - ms < DAY_MS ? clockTime(ms) : fullTime(ms)}
          </time>
        );
      })}
    </>
  );
}
