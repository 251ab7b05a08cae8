import { defineModule } from "../conf/module.ts";
import { earlyHints as hints } from "../upstream/directives.ts";

/** `early_hints` of ngx_http_core_module. */
export const earlyHints = defineModule({ name: "http_early_hints", directives: { early_hints: hints } });
