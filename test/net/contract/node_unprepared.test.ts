/** node:net where the handles are not as they should be: everything goes through node:net's own writing. */
import { nodeEngine } from "../../../src/net/node/engine.ts";
import { contract } from "./contract.ts";

contract(nodeEngine, { exact: false });
