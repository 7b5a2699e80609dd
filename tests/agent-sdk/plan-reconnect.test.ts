import { Code } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { planReconnect, type StreamEnd } from "../../src/agent-sdk/plan-reconnect.ts";

const failed = (code: Code, reason = ""): StreamEnd => ({
  kind: "failed",
  refusal: { code, reason, message: "no" },
  retryAfterMs: 0,
});

describe("after a stream that was never welcomed", () => {
  it.each([
    Code.PermissionDenied,
    Code.NotFound,
    Code.Unimplemented,
    Code.InvalidArgument,
    Code.FailedPrecondition,
  ])("code %i stops the session", (code) =>
    expect(planReconnect(failed(code), "current", 0).kind).toBe("stop"),
  );

  it.each([
    Code.Unavailable,
    Code.DeadlineExceeded,
    Code.Internal,
    Code.ResourceExhausted,
    Code.Canceled,
    Code.Unknown,
  ])("code %i is tried again", (code) => expect(planReconnect(failed(code), "current", 0).kind).toBe("wait"));

  it("a token that is refused gives way to the one before, and that one renews itself", () => {
    expect(planReconnect(failed(Code.Unauthenticated), "renewed", 0).kind).toBe("useCurrentToken");
    expect(planReconnect(failed(Code.Unauthenticated), "current", 0).kind).toBe("renewExpiredToken");
  });
});

describe("after a stream that worked", () => {
  it.each([Code.Unauthenticated, Code.InvalidArgument, Code.NotFound, Code.Unavailable])(
    "code %i is tried again, since the next hello tells whether it lasts",
    (code) => expect(planReconnect(failed(code), "current", 9000).kind).toBe("wait"),
  );

  it("a newer process ends the session", () => {
    expect(planReconnect(failed(Code.Aborted, "SESSION_SUPERSEDED"), "current", 9000).kind).toBe("stop");
  });

  it("one that was left is replaced at once, unless it was left as soon as it began", () => {
    expect(planReconnect({ kind: "moved" }, "current", 9000).kind).toBe("reconnect");
    expect(planReconnect({ kind: "moved" }, "current", 10).kind).toBe("wait");
  });

  it("the server's wish to be left alone is kept", () => {
    const end: StreamEnd = {
      ...failed(Code.ResourceExhausted),
      kind: "failed",
      retryAfterMs: 7000,
    } as StreamEnd;
    expect(planReconnect(end, "current", 9000)).toMatchObject({ kind: "wait", atLeastMs: 7000 });
  });
});
