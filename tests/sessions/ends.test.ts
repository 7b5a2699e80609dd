import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { SessionRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { ErrorInfoSchema } from "../../gen/google/rpc/error_details_pb.js";
import { startControlPlane } from "../helpers/control-plane.ts";
import { messageOfBytes } from "../helpers/message-of-bytes.ts";
import { AgentLine, enroll, openTransport, WAYS, type Way } from "./agent-line.ts";

async function openServer(way: Way) {
  const server = await startControlPlane();
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= server.stop();
    return stopping;
  };
  const transport = openTransport(server, way);
  onTestFinished(async () => {
    transport.close();
    await stop();
  });
  const open = async () => {
    const { token } = await enroll(server, transport);
    const line = new AgentLine(transport, token);
    return { token, line };
  };
  return { server, transport, open, stop };
}

describe.each(WAYS)("%s", (way) => {
  test("a stopping server sends agents elsewhere, serves them on, and waits for those who go", async () => {
    const { open, stop } = await openServer(way);
    const { line } = await open();
    await line.hello("boot");
    const stopped = stop();
    const heard = await line.hear();
    expect([heard?.inReplyTo, heard?.message.case]).toEqual([0n, "goElsewhere"]);
    const answer = await line.ask({ case: "error", value: { severity: 2, message: "last words" } });
    expect(answer.case).toBe("error");
    line.hangUp();
    expect(await line.end()).toBeUndefined();
    await stopped;
  });

  test("a stopping server ends the streams of those who stay", async () => {
    const { open, stop } = await openServer(way);
    const { line } = await open();
    await line.hello("boot");
    const stopped = stop();
    expect((await line.hear())?.message.case).toBe("goElsewhere");
    expect((await line.end())?.code).toBe(Code.Unavailable);
    await stopped;
  });

  test("a stopping server takes no new streams", async () => {
    const { open, stop, transport } = await openServer(way);
    const { line, token } = await open();
    await line.hello("boot");
    const stopped = stop();
    expect((await line.hear())?.message.case).toBe("goElsewhere");
    const late = new AgentLine(transport, token);
    late.say({ case: "hello", value: { bootId: "late" } });
    expect((await late.end())?.code).toBe(Code.Unavailable);
    line.hangUp();
    await line.end();
    await stopped;
  });

  test("bytes that are no message end the stream", async () => {
    const { open } = await openServer(way);
    const { line } = await open();
    await line.hello("boot");
    // A field of bytes that ends before its length.
    line.sayRaw(messageOfBytes(SessionRequestSchema, Buffer.from([0x12, 0x7f, 0x00])));
    expect((await line.end())?.code).toBe(Code.InvalidArgument);
  });

  test("an agent that hangs up first is answered to the end", async () => {
    const { open } = await openServer(way);
    const { line } = await open();
    line.say({ case: "hello", value: { bootId: "boot" } });
    for (let count = 0; count < 50; count++) {
      line.sayRaw(create(SessionRequestSchema, { id: 7n, message: { case: "ready", value: {} } }));
    }
    line.hangUp();
    expect((await line.hear())?.message.case).toBe("welcome");
    for (let count = 0; count < 50; count++) expect((await line.hear())?.message.case).toBe("done");
    expect(await line.hear()).toBeUndefined();
  });
});

test("a stream on which nothing is said is ended, whichever way it came", async () => {
  const silent = WAYS.map(async (way) => {
    const { open } = await openServer(way);
    const { line } = await open();
    const error = await line.end();
    expect(error).toBeInstanceOf(ConnectError);
    return [error?.code, error?.findDetails(ErrorInfoSchema)[0]?.reason];
  });
  expect(await Promise.all(silent)).toEqual(WAYS.map(() => [Code.DeadlineExceeded, "HELLO_EXPECTED"]));
});
