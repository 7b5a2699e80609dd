/** A moment as PostgreSQL keeps it, to the microsecond, in the shape of google.protobuf.Timestamp. */
export interface Moment {
  seconds: bigint;
  nanos: number;
}

const TEXT =
  /^(\d{4,6})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:Z|([+-])(\d\d)(?::?(\d\d))?)$/;

/** Reads the text of a timestamptz, as a session in UTC sends it; throws on infinity and on years before Christ. */
export function parseTimestamptz(text: string): Moment {
  const match = TEXT.exec(text);
  if (match === null) throw new Error(`not a moment: ${text}`);
  const [
    ,
    year,
    month,
    day,
    hour,
    minute,
    second,
    fraction = "",
    sign,
    offsetHours = "0",
    offsetMinutes = "0",
  ] = match;
  const date = new Date(0);
  // Date.UTC would take the years 0 to 99 for those of the last century.
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  date.setUTCHours(Number(hour), Number(minute), Number(second));
  const offsetSeconds = (Number(offsetHours) * 60 + Number(offsetMinutes)) * (sign === "-" ? -60 : 60);
  return {
    seconds: BigInt(date.getTime() / 1000 - offsetSeconds),
    nanos: Number(fraction.padEnd(6, "0")) * 1000,
  };
}

/** The text of a moment for a `::timestamptz` parameter; what is below a microsecond is cut off. */
export function formatTimestamptz({ seconds, nanos }: Moment): string {
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, -5);
  return `${whole}.${String(Math.floor(nanos / 1000)).padStart(6, "0")}Z`;
}
