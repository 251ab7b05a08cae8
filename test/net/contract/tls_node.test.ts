/** TLS over node:net. */
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { overTls } from "./over_tls.ts";

await nodeEngine.prepare();
overTls(nodeEngine);
