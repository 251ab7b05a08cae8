import assert from "node:assert/strict";
import { test } from "node:test";
import { DATA, HEAD, OVER, ResponseReader } from "../../../src/wire/http1/response_reader.ts";

test("the chunks of an answer that come in one read are passed on in one piece", () => {
  const reader = new ResponseReader();
  reader.begin(4096);
  const chunks = "1\r\nx\r\n".repeat(5000);
  const bytes = Buffer.from(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}1\r`);
  assert.equal(reader.readHead(bytes, 0), HEAD);
  reader.frame(false, true);
  assert.equal(reader.readBody(bytes, reader.pos), DATA);
  assert.equal(bytes.toString("latin1", reader.dataStart, reader.dataEnd), "x".repeat(5000));
  assert.equal(reader.pos, bytes.length);
  const rest = Buffer.from("\ny\r\n0\r\nX-Sum: 42\r\n\r\n");
  assert.equal(reader.readBody(rest, 0), DATA);
  assert.equal(rest.toString("latin1", reader.dataStart, reader.dataEnd), "y");
  assert.equal(reader.readBody(rest, reader.pos), OVER);
  assert.equal(reader.takeTrailers()?.value(0), "42");
  assert.equal(reader.reusable, true);
});
