import { boot } from "./boot.ts";

// What dist/holdfast.mjs is made from (scripts/build.mjs): one file, which every process loads in a fraction of the time.
boot(new URL(import.meta.url));
