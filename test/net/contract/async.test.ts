/** An engine that sends asynchronously, as io_uring does. */
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { asyncEngine } from "./async_engine.ts";
import { contract } from "./contract.ts";

contract(asyncEngine(nodeEngine), { exact: (await nodeEngine.prepare()) === undefined });
