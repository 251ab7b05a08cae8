import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { Redis } from "./redis.ts";

/** A line to a Redis, on which commands or answers can be held up or lost. */
export interface RedisLine {
  /** `127.0.0.1:port` */
  readonly address: string;
  /** From now on, or from a command on that matches, Redis gets no commands, or its clients no answers. */
  hold(what: "commands" | "answers", from?: RegExp): void;
  /** How many bytes of commands are held up. */
  readonly held: number;
  /** What is held up goes on, and all that comes. */
  release(): void;
  /** Ends all connections to clients. Answers that were held up are lost; commands are still on their way, as in the network. */
  cut(): void;
  /** Commands that were on their way at a `cut` arrive: resolves when Redis has done them. */
  arrive(): Promise<void>;
}

interface Way {
  readonly client: Socket;
  readonly redis: Socket;
  commands: Buffer[];
  answers: Buffer[];
}

export async function startRedisLine(t: TestContext, { port }: Redis): Promise<RedisLine> {
  const ways = new Set<Way>();
  let late: Way[] = [];
  let holds: "commands" | "answers" | undefined;
  let waits: { readonly what: "commands" | "answers"; readonly from: RegExp } | undefined;
  const line = createServer((client) => {
    const redis = connect(port, "127.0.0.1");
    const way: Way = { client, redis, commands: [], answers: [] };
    ways.add(way);
    client.on("data", (bytes: Buffer) => {
      if (waits?.from.test(bytes.latin1Slice()) === true) {
        holds = waits.what;
        waits = undefined;
      }
      if (holds === "commands") way.commands.push(bytes);
      else redis.write(bytes);
    });
    redis.on("data", (bytes: Buffer) => {
      if (holds === "answers") way.answers.push(bytes);
      else client.write(bytes);
    });
    client
      .on("error", () => {})
      .on("close", () => {
        // What a process had sent when it died arrives too.
        if (ways.delete(way)) leave(way);
      });
    redis.on("error", () => {}).on("close", () => client.destroy());
  });
  const leave = (way: Way): void => {
    if (way.commands.length > 0) late.push(way);
    else way.redis.destroy();
  };
  line.listen(0, "127.0.0.1");
  await once(line, "listening");
  t.after(() => {
    for (const { client, redis } of [...ways, ...late]) for (const socket of [client, redis]) socket.destroy();
    line.close();
  });
  const address = line.address();
  if (address === null || typeof address === "string") throw new Error("the line has no port");
  return {
    address: `127.0.0.1:${address.port}`,
    hold(what, from) {
      if (from === undefined) holds = what;
      else waits = { what, from };
    },
    get held() {
      return [...ways, ...late].reduce((sum, { commands }) => sum + Buffer.concat(commands).length, 0);
    },
    release() {
      holds = undefined;
      for (const way of ways) {
        way.redis.write(Buffer.concat(way.commands));
        way.client.write(Buffer.concat(way.answers));
        way.commands = [];
        way.answers = [];
      }
    },
    cut() {
      holds = undefined;
      for (const way of ways) {
        ways.delete(way);
        leave(way);
        way.client.destroy();
      }
    },
    async arrive() {
      const all = late;
      late = [];
      for (const { redis, commands } of all) {
        const answered = once(redis, "data");
        redis.write(Buffer.concat(commands));
        await answered;
        redis.destroy();
      }
    },
  };
}
