import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { AppendFile, reportLogFailures } from "../../../src/runtime/log/append_file.ts";
import { waitFor } from "../../support/wait.ts";

test("an exception while a log is written at the end of a turn ends nothing, and later lines are written", async (t) => {
  const path = join(tmpdir(), `holdfast-append-${process.pid}.log`);
  const fd = openSync(path, "a");
  t.after(() => {
    closeSync(fd);
    rmSync(path);
  });
  let reports = 0;
  reportLogFailures(() => {
    reports++;
    throw new Error("the error log fails too");
  });
  t.after(() => reportLogFailures(() => {}));
  // No such descriptor is open, so that the write fails and is reported.
  let lent = 1_000_000;
  const file = new AppendFile(path, () => lent);
  file.append("lost\n");
  await waitFor(() => reports === 1, "the report");
  lent = fd;
  file.open();
  file.append("written\n");
  await waitFor(() => readFileSync(path, "latin1") === "written\n", "the line");
});
