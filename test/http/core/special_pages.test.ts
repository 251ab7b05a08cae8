import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { errorPageBody } from "../../../src/http/core/special_pages.ts";
import { SERVER, VERSION } from "../../../src/version.ts";
import { NGINX, startNginx } from "../../support/reference_nginx.ts";

describe("built-in pages", () => {
  test("name Holdfast, with its version or without", () => {
    assert.equal(SERVER, `holdfast/${VERSION}`);
    assert.equal(
      errorPageBody(404, "on", false),
      `<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>${SERVER}</center>\r\n</body>\r\n</html>\r\n`,
    );
    assert.ok(errorPageBody(404, "off", false).includes("<center>holdfast</center>"));
    assert.equal(errorPageBody(404, "on", false), errorPageBody(404, "on", false));
  });

  test("padding only from 400 on, and only under a page", () => {
    assert.equal(errorPageBody(404, "on", true).length, errorPageBody(404, "on", false).length + 6 * 67);
    assert.equal(errorPageBody(301, "on", true), errorPageBody(301, "on", false));
    assert.equal(errorPageBody(418, "on", true), "");
  });
});

test("every status answers as nginx's does", { skip: NGINX === undefined }, async () => {
  const statuses = [301, 302, 303, 307, 308, ...Array.from({ length: 130 }, (_, i) => 400 + i)].filter(
    // 408, 444 and 499 close the connection; 407 and 421 are newer than nginx 1.22.
    (status) => ![407, 408, 421, 444, 499].includes(status),
  );
  const nginx = await startNginx(
    `server { LISTEN ${statuses.map((status) => `location = /${status} { return ${status}; }`).join("\n")} }`,
  );
  try {
    for (const status of statuses) {
      const { body } = await nginx.ask("x", `/${status}`);
      assert.equal(
        errorPageBody(status, "on", false).replace(SERVER, "nginx/N"),
        body.replace(/nginx\/[\d.]+/, "nginx/N"),
        `${status}`,
      );
    }
  } finally {
    await nginx.stop();
  }
});
