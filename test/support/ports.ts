import { createServer } from "node:net";

const given = new Set<number>();

/** A TCP port of 127.0.0.1 that nobody listens on now, and that this process has not been given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer();
      server.once("error", reject);
      server.listen({ host: "127.0.0.1", port: 0, exclusive: true }, () => {
        const address = server.address();
        server.close(() => {
          if (address === null || typeof address === "string") reject(new Error("no port was given"));
          else resolve(address.port);
        });
      });
    });
    if (given.has(port)) continue;
    given.add(port);
    return port;
  }
}
