import type { HttpModule } from "./module.ts";
import { proxy } from "./modules/proxy.ts";
import { stubStatus } from "./modules/stub_status.ts";

/** Every HTTP module, in the order in which those of one phase run and header filters see a response. */
export const httpModules: readonly HttpModule[] = [proxy, stubStatus] as readonly HttpModule[];
