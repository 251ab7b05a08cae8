import assert from "node:assert/strict";
import { test } from "node:test";
import { program } from "../src/program.ts";

test("configure arguments tell which modules there are", () => {
  const said = new Set(program().configureArguments);
  assert.ok(said.has("--with-http_stub_status_module"));
  assert.ok(said.has("--with-http_realip_module"));
  for (const name of ["nginx_upstream_check_module", "ngx_brotli", "zstd-nginx-module"]) {
    assert.ok(said.has(`--add-module=${name}`), name);
  }
  for (const name of ["proxy", "rewrite", "map", "access", "upstream_hash"]) {
    assert.ok(!said.has(`--without-http_${name}_module`), name);
  }
  assert.equal(said.size, program().configureArguments.length);
});

test("every module that nginx builds by default and whose directive is missing is said to be missing", () => {
  const { directives, configureArguments } = program();
  const names = new Set(directives.flatMap(({ specs }) => Object.keys(specs)));
  for (const [directive, module] of [
    ["gzip", "gzip"],
    ["fastcgi_pass", "fastcgi"],
    ["limit_req", "limit_req"],
    ["autoindex", "autoindex"],
    ["geo", "geo"],
    ["split_clients", "split_clients"],
    ["auth_basic", "auth_basic"],
  ]) {
    assert.equal(configureArguments.includes(`--without-http_${module}_module`), !names.has(directive), directive);
  }
});
