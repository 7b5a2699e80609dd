import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { TimeAgo } from "./time-ago.tsx";

const TIME = /(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z)/;

/** A sentence of the server's, its moments told as people say them: "2 min ago", with the exact time as a title. */
export function ToldText({ text }: { text: string }) {
  return (
    <>
      {text.split(TIME).map((part, index) => {
        const ms = index % 2 === 1 ? Date.parse(part) : Number.NaN;
        return Number.isNaN(ms) ? part : <TimeAgo key={index} time={timestampFromMs(ms)} />;
      })}
    </>
  );
}
