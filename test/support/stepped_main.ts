/** Holdfast whose clock is as many ms ahead as the file says that `env STEPPED_CLOCK` names. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { httpProgram } from "../../src/http/conf/program.ts";
import { run } from "../../src/runtime/start.ts";

const { now } = Date;
const { STEPPED_CLOCK: file } = process.env;
if (file !== undefined) Date.now = () => now() + Number(readFileSync(file, "utf8"));

const program = httpProgram({ modules: [], tables: [], open: () => [] });
run(program, new URL(import.meta.url), fileURLToPath(new URL("../../", import.meta.url)));
