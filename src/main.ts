import { fileURLToPath } from "node:url";
import { useCompileCache } from "./runtime/compile_cache.ts";

// The supervisor, the watcher and the workers all start here. What is imported after this is compiled only once.
useCompileCache();
const [{ run }, { program }] = await Promise.all([import("./runtime/start.ts"), import("./program.ts")]);
run(program(), new URL(import.meta.url), fileURLToPath(new URL("../", import.meta.url)));
