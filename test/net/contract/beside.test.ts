/** An engine that sends beside the program, as io_uring does. */
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { besideEngine } from "./beside_engine.ts";
import { contract } from "./contract.ts";

contract(besideEngine(nodeEngine), { exact: (await nodeEngine.prepare()) === undefined });
