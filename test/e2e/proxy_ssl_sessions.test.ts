import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { noOpenssl, selfSigned, type TestCertificate } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

/** proxy_ssl_session_reuse, with nginx as the server. */

const skip = noOpenssl || have("nginx");

/** Its address. It says "r" where it has resumed a session, else ".", and closes. */
async function sayer(t: TestContext, { certificate, key }: TestCertificate, version: string): Promise<string> {
  const { port } = await startNginx(t, {
    files: { "conf/crt": certificate, "conf/key": key },
    config: ([port]) => `http { access_log off; keepalive_timeout 0;
      server { listen 127.0.0.1:${port} ssl; ssl_protocols ${version}; ssl_certificate crt; ssl_certificate_key key;
        return 200 $ssl_session_reused; } }`,
  });
  return `127.0.0.1:${port}`;
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`a session is resumed with the same server, under the same settings, over a reload; ${version}`, {
    skip,
  }, async (t) => {
    const own = selfSigned("a.example");
    const backend = await sayer(t, own, version);
    const config = ([port]: readonly number[]) => `worker_processes 1; http {
      upstream a.example { server ${backend}; } upstream other { server ${backend}; }
      server { listen 127.0.0.1:${port}; proxy_ssl_trusted_certificate ca;
        location /on { proxy_pass https://a.example; }
        location /same { proxy_pass https://a.example; }
        location /off { proxy_pass https://a.example; proxy_ssl_session_reuse off; }
        location /other { proxy_pass https://other; }
        location /named { proxy_pass https://a.example; proxy_ssl_server_name on; proxy_ssl_name $arg_name; }
        location /verified { proxy_pass https://a.example; proxy_ssl_verify on; }
        location /mismatched { proxy_pass https://a.example; proxy_ssl_verify on; proxy_ssl_name b.example; }
        location /distrusted { proxy_pass https://a.example; proxy_ssl_verify on; proxy_ssl_trusted_certificate none; }
        location /ciphers { proxy_pass https://a.example; proxy_ssl_ciphers HIGH; } } }`;
    const holdfast = await startHoldfast(t, {
      files: { "conf/ca": own.certificate, "conf/none": selfSigned("none").certificate },
      config,
    });
    const ask = async (path: string) => {
      const { status, body } = await get(holdfast.port, path);
      return status === 200 ? body : status;
    };
    assert.equal(await ask("/on"), ".");
    assert.equal(await ask("/on"), "r");
    assert.equal(await ask("/on"), "r");
    assert.equal(await ask("/same"), "r");
    assert.equal(await ask("/off"), ".");
    assert.equal(await ask("/off"), ".");
    assert.equal(await ask("/other"), ".");
    for (const name of ["one", "two"]) {
      assert.equal(await ask(`/named?name=${name}`), ".");
      assert.equal(await ask(`/named?name=${name}`), "r");
    }
    assert.equal(await ask("/verified"), ".");
    assert.equal(await ask("/verified"), "r");
    // Whom another location trusts is not trusted here.
    for (const path of ["/mismatched", "/distrusted"]) {
      assert.equal(await ask(path), 502);
      assert.equal(await ask(path), 502);
    }
    assert.equal(await ask("/ciphers"), ".");
    assert.equal(await holdfast.reload(config(holdfast.ports)), true);
    assert.equal(await ask("/on"), "r");
    assert.equal(await ask("/verified"), "r");
  });
}

test("the workers share the sessions of an upstream with a zone", { skip }, async (t) => {
  const backend = await sayer(t, selfSigned("a.example"), "TLSv1.3");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 2; http {
      upstream shared { zone one 64k; server ${backend}; } upstream own { server ${backend}; }
      server { listen 127.0.0.1:${port}; add_header X-Worker $pid;
        location /shared { proxy_pass https://shared; }
        location /own { proxy_pass https://own; }
        location /variable { proxy_pass $arg_scheme://shared; proxy_ssl_ciphers HIGH; } } }`,
  });
  /** How often a session was new until each worker has had three requests. */
  const newSessions = async (path: string) => {
    const requests = new Map<string, number>();
    let made = 0;
    while (requests.size < 2 || Math.min(...requests.values()) < 3) {
      const { body, header } = await get(holdfast.port, path);
      const worker = String(header("x-worker"));
      requests.set(worker, (requests.get(worker) ?? 0) + 1);
      if (body === ".") made++;
    }
    return made;
  };
  assert.equal(await newSessions("/shared"), 1);
  assert.equal(await newSessions("/own"), 2);
  assert.equal(await newSessions("/variable?scheme=https"), 1);
});
