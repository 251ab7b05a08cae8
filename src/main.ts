import { useCompileCache } from "./sys/compile_cache.ts";

// The master, the checker and the workers all start here, or in bundle.ts. What is imported after this is compiled
// only once.
useCompileCache();
const { boot } = await import("./boot.ts");
boot(new URL(import.meta.url));
