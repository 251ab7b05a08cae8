/** Holdfast whose directory `cache` is a file system of 256 KiB, which nobody else sees. Wants root. */
import { fileURLToPath } from "node:url";

const launcher = fileURLToPath(new URL("../../bin/holdfast", import.meta.url));
const args = process.argv.slice(2);
const prefix = args[args.indexOf("-p") + 1];
const script = 'mkdir -p "$0/cache" && mount -t tmpfs -o size=256k none "$0/cache" && exec "$@"';
process.execve?.("/bin/sh", ["sh", "-c", 'exec unshare -m sh -c "$@"', "sh", script, prefix, launcher, ...args]);
