import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { wordsOfEvent } from "../../src/cli/agent-run/event-words.ts";

test.each([
  ["Nothing listens at http://a:1 (ECONNREFUSED).", "nothing listens at http://a:1 (ECONNREFUSED)."],
  ["The connection to http://a:1 was lost.", "the connection to http://a:1 was lost."],
  ["http://a:1 gave no answer in time.", "http://a:1 gave no answer in time."],
  [
    "No TLS connection to https://a:1: it has expired (X).",
    "no TLS connection to https://a:1: it has expired (X).",
  ],
  // As servers say it.
  ["the database is shutting down", "the database is shutting down."],
  ["TLS is wanted", "TLS is wanted."],
])("an agent that is not connected because of %j says so in a sentence", (message, said) => {
  const state = {
    kind: "waiting",
    server: "http://b:2",
    delayMs: 1_234,
    because: { code: Code.Unavailable, reason: "", message },
  } as const;
  expect(wordsOfEvent({ kind: "state", state })).toBe(`Not connected: ${said} Trying http://b:2 in 1.2 s.`);
});

test("an agent that leaves its stream says why, and where it goes on", () => {
  const because = {
    code: Code.Unavailable,
    reason: "SENT_AWAY",
    message: "The server asked to go elsewhere.",
  };
  const states = [
    { kind: "moving", server: "http://a:1", elsewhere: false, why: "a new token is to be used" },
    { kind: "moving", server: "http://a:1", elsewhere: true, why: "the server is stopping" },
    { kind: "waiting", server: "http://b:2", delayMs: 400, because },
  ] as const;
  expect(states.map((state) => wordsOfEvent({ kind: "state", state }))).toEqual([
    "Connecting anew to http://a:1: a new token is to be used.",
    "Leaving http://a:1: the server is stopping.",
    "Going on at http://b:2 in 0.4 s.",
  ]);
});
