/** node:net, as a worker has it: prepared, so that text is written directly where this Node's handles allow it. */
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { contract } from "./contract.ts";

contract(nodeEngine, { exact: (await nodeEngine.prepare()) === undefined });
