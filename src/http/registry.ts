import type { HttpModule } from "./module.ts";
import { map } from "./modules/map.ts";
import { proxy } from "./modules/proxy.ts";
import { rewrite } from "./modules/rewrite.ts";
import { splitClients } from "./modules/split_clients.ts";
import { stubStatus } from "./modules/stub_status.ts";
import { tryFiles } from "./modules/try_files.ts";

/** Every HTTP module, in the order in which those of one phase run and header filters see a response. */
export const httpModules: readonly HttpModule[] = [
  map,
  splitClients,
  rewrite,
  tryFiles,
  proxy,
  stubStatus,
] as readonly HttpModule[];
