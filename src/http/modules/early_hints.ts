import { hints } from "../conf/early_hints.ts";
import { defineModule } from "../conf/module.ts";

/** `early_hints` of ngx_http_core_module. */
export const earlyHints = defineModule({ name: "http_early_hints", directives: { early_hints: hints } });
