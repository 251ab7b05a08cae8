const SAVER = "--memory-saver-mode";
const GROWTH = "--heap-growing-percent";

/** How much may be added to what has survived a collection before the next one. */
const PERCENT = 200;

/** From how many characters of configuration on the collections would be noticed. */
const LARGE = 128 * 1024;

/** How many want it to grow. */
let wanted = 0;

/**
 * Lets V8's heap grow freely while something is made of so many characters, until what this returns is called, once: most of it
 * stays, and with the launcher's --memory-saver-mode V8 would collect garbage over and over again in vain, a quarter of the time.
 */
export function letHeapGrow(characters: number): () => void {
  if (characters < LARGE) return () => {};
  if (wanted++ === 0) setGrowth(true);
  return () => {
    if (--wanted === 0) setGrowth(false);
  };
}

function setGrowth(free: boolean): void {
  if (!process.execArgv.includes(SAVER)) return;
  const { setFlagsFromString } = process.getBuiltinModule("node:v8");
  setFlagsFromString(free ? `--no-${SAVER.slice(2)}` : SAVER);
  setFlagsFromString(`${GROWTH}=${free ? PERCENT : 0}`);
}
