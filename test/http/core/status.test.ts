import assert from "node:assert/strict";
import { test } from "node:test";
import { reasonPhrase } from "../../../src/http/core/status.ts";

test("reason phrases are nginx's, where it has one", () => {
  assert.equal(reasonPhrase(302), "Moved Temporarily");
  assert.equal(reasonPhrase(408), "Request Time-out");
  assert.equal(reasonPhrase(418), "");
  assert.equal(reasonPhrase(999), "");
});
