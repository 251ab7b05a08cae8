/** The group's messages over TLS: both sides show certificates, and whoever has a wrong one is named on every node. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import {
  type CertificateFiles,
  certificateDirectory,
  createCertificate,
  createRevocationList,
  noOpenssl,
  openssl,
} from "../support/certificates.ts";
import { allSeeAll, type ClusterNode, type ClusterOptions, startCluster } from "../support/cluster.ts";
import { runHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const skip = noOpenssl;
const CHECK = "check interval=100 fall=2 rise=2 timeout=5000;";
const TLS = "ssl_certificate node.crt; ssl_certificate_key node.key; ssl_trusted_certificate ca.crt;";

function authority(directory: string, name: string): CertificateFiles {
  return createCertificate(directory, name, {
    extensions: ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign"],
  });
}

function nodeCertificate(directory: string, issuer: CertificateFiles, name: string): CertificateFiles {
  return createCertificate(directory, name, { issuer, extensions: [`subjectAltName=DNS:${name}`] });
}

interface Shown {
  readonly ca: CertificateFiles;
  readonly of: (node: string) => CertificateFiles;
}

/** An authority, and a certificate for each of these names. */
function makeCertificates(t: TestContext, names: readonly string[]): Shown & { readonly directory: string } {
  const directory = certificateDirectory(t);
  const ca = authority(directory, "ca");
  const all = new Map(names.map((name) => [name, nodeCertificate(directory, ca, name)]));
  return {
    directory,
    ca,
    of(node) {
      const found = all.get(node);
      assert.ok(found !== undefined, `no certificate of ${node}`);
      return found;
    },
  };
}

function filesOf({ ca, of }: Shown): (node: string) => Record<string, string> {
  return (node) => ({
    "conf/ca.crt": ca.certificate,
    "conf/node.crt": of(node).certificate,
    "conf/node.key": of(node).key,
  });
}

const start = (t: TestContext, shown: Shown, options: ClusterOptions = {}) =>
  startCluster(t, { cluster: `${CHECK} ${TLS}`, files: filesOf(shown), ...options });

const encrypted = (node: ClusterNode, wanted: boolean) =>
  node.sees(
    `others to be asked ${wanted ? "over TLS" : "in clear"}`,
    ({ nodes }) => nodes.filter((row) => !row.self && row.encrypted === wanted).length === nodes.length - 1,
  );

const logs = (node: ClusterNode, text: RegExp) =>
  waitFor(
    () => text.test(node.running.errorLog()),
    () => `${node.name} to log ${text}:\n${node.running.errorLog()}`,
  );

/** It is down for the others, and says why; they say who it is. */
async function outcast(nodes: readonly ClusterNode[], told: RegExp, seen: RegExp): Promise<void> {
  const [bad, ...others] = nodes;
  for (const node of others) {
    await node.sees(`that ${bad.name} is down`, ({ nodes: rows }) => rows[0].verdict === "down");
    await node.sees("that the others are up", ({ nodes: rows }) =>
      rows.slice(1).every(({ seen: by }) => by[node.name]?.state !== "down"),
    );
    await logs(node, seen);
  }
  for (const node of others) {
    await bad.sees(`why ${node.name} is down`, ({ nodes: rows }) => {
      const { reason = "" } = rows.find(({ name }) => name === node.name)?.seen[bad.name] ?? {};
      return told.test(reason);
    });
  }
}

test("nodes ask each other over TLS, and show it", { skip }, async (t) => {
  const nodes = await start(t, makeCertificates(t, ["lb1", "lb2", "lb3"]));
  await allSeeAll(nodes);
  for (const node of nodes) await encrypted(node, true);
  const { body } = await get(nodes[0].port, "/cluster");
  assert.equal(body.match(/1 over TLS/g)?.length, 2);
  for (const node of nodes) assert.doesNotMatch(node.running.errorLog(), /a message of|disable check peer/);
});

test("a certificate of another authority, for another node, or revoked: the node is named on each of the others", {
  skip,
}, async (t) => {
  const { directory, ca, of } = makeCertificates(t, ["lb1", "lb2", "lb3", "other"]);
  const stranger = nodeCertificate(certificateDirectory(t), authority(certificateDirectory(t), "foreign"), "lb1");
  const list = createRevocationList(directory, ca, [serialOf(of("lb1"))]);
  const crl = { cluster: `${CHECK} ${TLS} ssl_crl crl.pem;` };
  const cases: readonly [shown: CertificateFiles, its: string, options: ClusterOptions][] = [
    [stranger, "does not verify \\(21:unable to verify the first certificate\\)", {}],
    [of("other"), 'is for none of "lb1", "127\\.0\\.0\\.1"', {}],
    [of("lb1"), "does not verify \\(23:certificate revoked\\)", crl],
  ];
  for (const [shown, its, options] of cases) {
    const files = (node: string) => ({
      ...filesOf({ ca, of: (name) => (name === "lb1" ? shown : of(name)) })(node),
      "conf/crl.pem": list,
    });
    const nodes = await start(t, { ca, of }, { ...options, files });
    const seen = new RegExp(
      `a message of node "lb1" at 127\\.0\\.0\\.1 to cluster "test" is refused: its certificate ${its}`,
    );
    await outcast(nodes, new RegExp(`^your certificate ${its}`), seen);
    const reason = new RegExp(`^handshake: its certificate ${its}`);
    for (const node of nodes.slice(1)) {
      await node.sees("why", ({ nodes: [{ seen: by }] }) => reason.test(by[node.name]?.reason ?? ""));
    }
    const { facts } = await nodes[1].node("lb2");
    assert.ok((facts?.refused?.certificate ?? 0) > 0);
    for (const node of nodes) await node.running.stop();
  }
});

test("a node without TLS is told why it is refused, and named on the others", { skip }, async (t) => {
  const shown = makeCertificates(t, ["lb1", "lb2", "lb3"]);
  const cluster = (node: string) => (node === "lb1" ? CHECK : `${CHECK} ${TLS}`);
  const nodes = await start(t, shown, { cluster });
  const clear = "came in clear, and this node is asked over TLS only";
  await outcast(
    nodes,
    /^your message came in clear: this node is asked over TLS only$/,
    new RegExp(`a message of node "lb1" at 127\\.0\\.0\\.1 to cluster "test" ${clear}`),
  );
  await logs(nodes[0], /a message of 127\.0\.0\.1 to cluster "test" begins TLS, which this node has not/);
});

test("TLS comes to one node after the other, and goes again, while nobody is taken for down", { skip }, async (t) => {
  const shown = makeCertificates(t, ["lb1", "lb2", "lb3"]);
  // One failure in a row may be: a node that has just learned how another is asked.
  const slow = "check interval=100 fall=3 rise=2 timeout=5000;";
  const nodes = await start(t, shown, { cluster: `${slow} # tls\n` });
  await allSeeAll(nodes);
  const roll = async (tls: string): Promise<void> => {
    for (const node of nodes) {
      assert.equal(await node.running.reload(node.config.replace("# tls\n", tls)), true);
      await allSeeAll(nodes);
    }
  };
  await roll(`${TLS} ssl optional;`);
  for (const node of nodes) await encrypted(node, true);
  await roll(TLS);
  for (const node of nodes) await encrypted(node, true);
  await roll(`${TLS} ssl optional;`);
  await roll("");
  await allSeeAll(nodes);
  for (const node of nodes) assert.doesNotMatch(node.running.errorLog(), /disable check peer|does not verify/);
});

test("another certificate comes with a reload; one that is no good changes nothing", { skip }, async (t) => {
  const shown = makeCertificates(t, ["lb1", "lb2", "lb3"]);
  const { directory, ca } = shown;
  const nodes = await start(t, shown);
  await allSeeAll(nodes);
  const [first] = nodes;
  const write = ({ certificate, key }: CertificateFiles): void => {
    const { prefix } = first.running;
    writeFileSync(join(prefix, "conf/node.crt"), certificate);
    // Started by root, only the master could read it.
    rmSync(join(prefix, "conf/node.key"));
    writeFileSync(join(prefix, "conf/node.key"), key, { mode: 0o600 });
  };
  write({ ...shown.of("lb1"), key: shown.of("lb2").key });
  assert.equal(await first.running.reload(), false);
  await allSeeAll(nodes);
  write(nodeCertificate(directory, ca, "lb9"));
  assert.equal(await first.running.reload(), true);
  await outcast(nodes, /^your certificate is for none of/, /node "lb1" at .* its certificate is for none of "lb1"/);
  write(shown.of("lb1"));
  assert.equal(await first.running.reload(), true);
  await allSeeAll(nodes);
});

test("what is missing or no good is refused by line", { skip }, async (t) => {
  const { ca, of } = makeCertificates(t, ["lb1"]);
  const files = { ...filesOf({ ca, of })("lb1"), "conf/secret": "a secret of the test's own\n" };
  const refusal = async (tls: string): Promise<string | undefined> => {
    const config = `cluster test { node lb1 127.0.0.1:1; node lb2 127.0.0.1:2; self lb1; secret_file secret;\n${tls} }`;
    const { stderr } = await runHoldfast(t, { args: ["-t"], config, files });
    return /\[emerg\] (.*) in .*:2/.exec(stderr)?.[1];
  };
  assert.equal(await refusal(TLS), undefined);
  assert.equal(await refusal("ssl optional;"), 'no "ssl_certificate" is defined for "ssl"');
  assert.equal(
    await refusal("ssl_trusted_certificate ca.crt;"),
    'no "ssl_certificate" is defined for "ssl_trusted_certificate"',
  );
  assert.equal(
    await refusal("ssl_certificate node.crt;"),
    'no "ssl_certificate_key" is defined for certificate "node.crt"',
  );
  assert.equal(
    await refusal("ssl_certificate node.crt; ssl_certificate_key node.key;"),
    'no "ssl_trusted_certificate" is defined: it verifies the certificates of other nodes',
  );
  assert.match((await refusal(TLS.replace("node.key", "ca.crt"))) ?? "", /^cannot load certificate key ".*ca\.crt"/);
  assert.match((await refusal(TLS.replace(" ca.crt", " none.crt"))) ?? "", /^cannot load certificate ".*none\.crt"/);
  assert.match((await refusal(`${TLS} ssl maybe;`)) ?? "", /^invalid value "maybe"$/);
});

function serialOf({ certificateFile }: CertificateFiles): string {
  return openssl("x509", "-in", certificateFile, "-noout", "-serial").trim().replace("serial=", "");
}
