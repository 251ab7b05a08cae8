// leash.mjs PROGRAM ARGUMENTS…: runs a program that knows nothing of us and stops it when our standard input ends,
// which is what happens when the script that started us is killed.
import { spawn } from "node:child_process";

const [program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });

child.on("error", (error) => {
  process.stderr.write(`${program}: ${error.message}\n`);
  process.exit(1);
});
child.on("exit", (code) => process.exit(code ?? 1));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => child.kill("SIGTERM"));
process.stdin.resume().on("end", () => child.kill("SIGTERM"));
