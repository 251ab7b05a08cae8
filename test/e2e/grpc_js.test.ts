/** A client and a server of @grpc/grpc-js with Holdfast between them: the four kinds of calls, statuses, deadlines, cancellation. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { startHoldfast } from "../support/holdfast.ts";
import { waitFor } from "../support/wait.ts";

const text = (value: string) => Buffer.from(value);
const ofText = (bytes: Buffer) => bytes.toString();
const kind = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: text,
  requestDeserialize: ofText,
  responseSerialize: text,
  responseDeserialize: ofText,
});
const service = {
  unary: kind("/test.Echo/Unary", false, false),
  collect: kind("/test.Echo/Collect", true, false),
  repeat: kind("/test.Echo/Repeat", false, true),
  chat: kind("/test.Echo/Chat", true, true),
  hang: kind("/test.Echo/Hang", false, false),
};

/** Calls that the server saw cancelled. */
interface Backend {
  readonly port: number;
  readonly hanging: number;
  readonly cancelled: number;
}

async function backend(t: TestContext): Promise<Backend> {
  const seen = { hanging: 0, cancelled: 0 };
  const server = new grpc.Server();
  const unary: grpc.handleUnaryCall<string, string> = (call, answer) => {
    const trailer = new grpc.Metadata();
    trailer.set("x-trailer", "seen");
    if (call.request === "fail") {
      answer({ code: grpc.status.NOT_FOUND, details: "no such: 100 %", metadata: trailer });
      return;
    }
    const head = new grpc.Metadata();
    head.set("x-head", String(call.metadata.get("x-mine")[0] ?? ""));
    head.set("data-bin", Buffer.from([0, 1, 255]));
    call.sendMetadata(head);
    answer(null, `got ${call.request}`, trailer);
  };
  const collect: grpc.handleClientStreamingCall<string, string> = (call, answer) => {
    const all: string[] = [];
    call.on("data", (one: string) => all.push(one));
    call.on("end", () => answer(null, all.join("+")));
  };
  const repeat: grpc.handleServerStreamingCall<string, string> = (call) => {
    for (let i = 0; i < 5; i++) call.write(`${call.request} ${i}`);
    call.end();
  };
  const chat: grpc.handleBidiStreamingCall<string, string> = (call) => {
    call.on("data", (one: string) => call.write(`re: ${one}`));
    call.on("end", () => call.end());
  };
  const hang: grpc.handleUnaryCall<string, string> = (call) => {
    seen.hanging++;
    call.on("cancelled", () => {
      seen.cancelled++;
    });
  };
  server.addService(service, { unary, collect, repeat, chat, hang });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  t.after(() => server.forceShutdown());
  return {
    port,
    get hanging() {
      return seen.hanging;
    },
    get cancelled() {
      return seen.cancelled;
    },
  };
}

async function start(t: TestContext) {
  const server = await backend(t);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `events {} http { upstream echo { server 127.0.0.1:${server.port}; }
      server { listen 127.0.0.1:${port}; http2 on; location / { grpc_pass grpc://echo; } } }`,
  });
  const client = new grpc.Client(`127.0.0.1:${holdfast.port}`, grpc.credentials.createInsecure());
  t.after(() => client.close());
  return { server, client };
}

interface Called {
  readonly answer: string | undefined;
  readonly error: grpc.ServiceError | null;
  readonly head: grpc.Metadata | undefined;
  readonly trailer: grpc.Metadata | undefined;
}

function unary(
  client: grpc.Client,
  { path }: { readonly path: string },
  message: string,
  options: grpc.CallOptions = {},
): { readonly call: grpc.ClientUnaryCall; readonly over: Promise<Called> } {
  const metadata = new grpc.Metadata();
  metadata.set("x-mine", "1");
  let head: grpc.Metadata | undefined;
  let trailer: grpc.Metadata | undefined;
  const { promise: over, resolve } = Promise.withResolvers<Called>();
  let done: { readonly answer: string | undefined; readonly error: grpc.ServiceError | null } | undefined;
  const finish = (): void => {
    if (done !== undefined && trailer !== undefined) resolve({ ...done, head, trailer });
  };
  const call = client.makeUnaryRequest(path, text, ofText, message, metadata, options, (error, answer) => {
    done = { answer, error };
    finish();
  });
  call.on("metadata", (fields) => {
    head = fields;
  });
  call.on("status", ({ metadata: fields }) => {
    trailer = fields;
    finish();
  });
  return { call, over };
}

test("unary calls, with metadata both ways, and a status that is an error", async (t) => {
  const { client } = await start(t);
  const { answer, head, trailer } = await unary(client, service.unary, "hello").over;
  assert.equal(answer, "got hello");
  assert.deepEqual(head?.get("x-head"), ["1"]);
  assert.deepEqual(head?.get("data-bin"), [Buffer.from([0, 1, 255])]);
  assert.deepEqual(trailer?.get("x-trailer"), ["seen"]);
  const failed = await unary(client, service.unary, "fail").over;
  assert.equal(failed.error?.code, grpc.status.NOT_FOUND);
  assert.equal(failed.error?.details, "no such: 100 %");
  assert.deepEqual(failed.trailer?.get("x-trailer"), ["seen"]);
});

test("streams of the client, of the server, and of both", async (t) => {
  const { client } = await start(t);
  const collected = await new Promise<string | undefined>((resolve, reject) => {
    const call = client.makeClientStreamRequest<string, string>(service.collect.path, text, ofText, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(error);
    });
    for (const one of ["a", "b", "c"]) call.write(one);
    call.end();
  });
  assert.equal(collected, "a+b+c");

  const repeated: string[] = [];
  for await (const one of client.makeServerStreamRequest<string, string>(service.repeat.path, text, ofText, "x")) {
    repeated.push(String(one));
  }
  assert.deepEqual(repeated, ["x 0", "x 1", "x 2", "x 3", "x 4"]);

  const heard: string[] = [];
  const chat = client.makeBidiStreamRequest<string, string>(service.chat.path, text, ofText);
  chat.on("data", (one: string) => heard.push(one));
  const ended = new Promise((resolve) => chat.on("end", resolve));
  for (let i = 0; i < 3; i++) {
    chat.write(`${i}`);
    await waitFor(() => heard.length === i + 1, "the answer before the next message");
  }
  chat.end();
  await ended;
  assert.deepEqual(heard, ["re: 0", "re: 1", "re: 2"]);
});

test("a deadline that passes and a call that is cancelled are ends for the server too", async (t) => {
  const { client, server } = await start(t);
  await waitFor(async () => {
    const late = await unary(client, service.hang, "x", { deadline: Date.now() + 300 }).over;
    assert.equal(late.error?.code, grpc.status.DEADLINE_EXCEEDED);
    return server.hanging > 0;
  }, "a call to be at the server before its deadline");
  const before = server.hanging;
  await waitFor(() => server.cancelled === before, "the late call to be cancelled at the server");
  const { call, over } = unary(client, service.hang, "x");
  await waitFor(() => server.hanging === before + 1, "the second call");
  call.cancel();
  assert.equal((await over).error?.code, grpc.status.CANCELLED);
  await waitFor(() => server.cancelled === before + 1, "the second call to be cancelled at the server");
  assert.equal((await unary(client, service.unary, "next").over).answer, "got next");
});
