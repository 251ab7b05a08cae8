/**
 * Modules of Node that most configurations do not need, loaded when they are first asked for. What they take of each
 * process (Node 26): crypto 9 ms and 1.1 MB, since it initialises OpenSSL; worker_threads 0.6 MB; zlib 0.4 MB; child_process 0.1 MB.
 * scripts/floors.ts refuses other imports of them. (`fs.promises` is one too; node:fs/promises would bring 0.13 MB at once.)
 */
export const childProcess = lazy(() => process.getBuiltinModule("node:child_process"));
export const crypto = lazy(() => process.getBuiltinModule("node:crypto"));
export const dgram = lazy(() => process.getBuiltinModule("node:dgram"));
/** For what is no traffic: requests to an ACME server. They bring streams, and tls with its list of CAs. */
export const http = lazy(() => process.getBuiltinModule("node:http"));
export const https = lazy(() => process.getBuiltinModule("node:https"));
export const tls = lazy(() => process.getBuiltinModule("node:tls"));
export const workerThreads = lazy(() => process.getBuiltinModule("node:worker_threads"));
/** Brings worker_threads, streams and a good deal more with it. */
export const util = lazy(() => process.getBuiltinModule("node:util"));
export const zlib = lazy(() => process.getBuiltinModule("node:zlib"));

function lazy<Module>(load: () => Module): () => Module {
  let loaded: Module | undefined;
  return () => {
    loaded ??= load();
    return loaded;
  };
}
