// leash.mjs FOLDER PROGRAM ARGUMENTS…: runs a program that knows nothing of us. When our standard input ends, which is
// what happens when the script that started us is killed, stops the program and removes its folder.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";

const [folder, program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
let alone = false;

child.on("error", (error) => {
  process.stderr.write(`${program}: ${error.message}\n`);
  process.exit(1);
});
child.on("exit", (code) => {
  if (alone) rmSync(folder, { recursive: true, force: true });
  process.exit(code ?? 1);
});
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => child.kill("SIGTERM"));
process.stdin.resume().on("end", () => {
  alone = true;
  child.kill("SIGTERM");
});
