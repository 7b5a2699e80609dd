import { Code, ConnectError } from "@connectrpc/connect";

/** What went wrong with a call, as a sentence for people. */
export function sentenceOf(error: unknown): string {
  const { code, rawMessage } = ConnectError.from(error);
  switch (code) {
    case Code.PermissionDenied:
      return `This token may not do that: ${rawMessage}.`;
    case Code.Unavailable:
    case Code.DeadlineExceeded:
      return "The server cannot be reached just now.";
    case Code.Unknown:
      return /fetch|network/i.test(rawMessage)
        ? "The server cannot be reached just now."
        : capitalized(rawMessage);
    default:
      return capitalized(rawMessage);
  }
}

export const isNotFound = (error: unknown): boolean => ConnectError.from(error).code === Code.NotFound;
export const isCut = (error: unknown): boolean => ConnectError.from(error).code === Code.Canceled;

function capitalized(text: string): string {
  return text === ""
    ? "The call failed."
    : `${text[0]?.toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
