import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { ago, fullTime, msOf } from "../format.ts";
import { now } from "../live/clock.ts";

/** How long ago something was, counting on, with the exact time as its title. */
export function TimeAgo({ time, none = "never" }: { time: Timestamp | undefined; none?: string }) {
  const ms = msOf(time);
  if (ms === undefined) return <span class="faint">{none}</span>;
  return (
    <time dateTime={new Date(ms).toISOString()} title={fullTime(ms)}>
      {ago(ms, now.value)}
    </time>
  );
}
