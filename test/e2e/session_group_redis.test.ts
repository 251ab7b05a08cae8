import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { certificateDirectory, createCertificate, noOpenssl } from "../support/certificates.ts";
import { runHoldfast } from "../support/holdfast.ts";
import { noRedis, startCluster, startRedis, startSentinels } from "../support/redis.ts";
import { type Shop, startShop } from "../support/shop.ts";
import { waitFor } from "../support/wait.ts";

/** The ways in which a Redis is reached that keeps a session zone. */

const KEY = "0123456789abcdef".repeat(4);

function startNode(t: TestContext, store: string, files: Record<string, string> = {}): Promise<Shop> {
  const http = "session_timeout 10s;";
  return startShop(t, { http, zone: `4m keys=keys store=${store}`, files: { "conf/keys": KEY, ...files } });
}

/** Fills a cart at one node, and finds it at the other. */
async function takeTurns(one: Shop, other: Shop): Promise<void> {
  const shopper = one.shopper();
  await shopper.send("/add/apple");
  assert.deepEqual(await other.shopper(shopper.cookies).cart(), { apple: 1 });
}

test("a wrong password is said, another reason later, and a right one is taken", { skip: noRedis }, async (t) => {
  const redis = await startRedis(t, { args: ["--requirepass", "right"], password: "right" });
  const shut = await startNode(t, `redis://:secret-but-wrong@${redis.address}`);
  const shopper = shut.shopper();
  await shopper.send("/add/apple");
  assert.deepEqual(await shopper.cart(), { apple: 1 });
  await shut.holdfast.waitForLog(
    /\[error\].* lost its store redis:\/\/127\.0\.0\.1:\d+: (WRONGPASS|ERR invalid password)/,
  );
  await redis.kill();
  await shut.holdfast.waitForLog(/\[error\].* its store redis:\/\/127\.0\.0\.1:\d+ is still away: .*ECONNREFUSED/);
  await redis.start();
  assert.doesNotMatch(shut.holdfast.errorLog(), /secret-but/);
  const inUrl = await startNode(t, `redis://default:right@${redis.address}/1`);
  const inFile = await startNode(t, `redis://${redis.address}/1 password_file=password`, {
    "conf/password": "right\n",
  });
  await takeTurns(inUrl, inFile);
});

test("TLS: the server's certificate is checked", { skip: noRedis || noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const extensions = ["subjectAltName=IP:127.0.0.1"];
  const own = createCertificate(directory, "redis", { issuer: ca, extensions });
  const files = ["--tls-cert-file", own.certificateFile, "--tls-key-file", own.keyFile];
  const listens = (port: number) => ["--port", "0", "--tls-port", String(port), ...files, "--tls-auth-clients", "no"];
  const redis = await startRedis(t, { listens, args: ["--tls-ca-cert-file", ca.certificateFile] });
  const checked = await startNode(t, `rediss://${redis.address} ca=ca.pem`, { "conf/ca.pem": ca.certificate });
  const blind = await startNode(t, `rediss://${redis.address} verify=off`);
  await takeTurns(checked, blind);
  const suspicious = await startNode(t, `rediss://${redis.address}`);
  await suspicious.holdfast.waitForLog(/its store rediss:.*\bcertificate\b/);
});

test("Sentinel: a cart outlives the master", { skip: noRedis }, async (t) => {
  const { master, addresses } = await startSentinels(t);
  const store = `redis+sentinel://${addresses.join(",")}/mymaster`;
  const shops = [await startNode(t, store), await startNode(t, store)];
  await takeTurns(shops[0], shops[1]);
  const shopper = shops[0].shopper();
  await shopper.send("/add/apple");
  await master.kill();
  for (const item of ["pear", "plum"]) assert.equal((await shopper.send(`/add/${item}`)).status, 200);
  assert.deepEqual(await shopper.cart(), { apple: 1, pear: 1, plum: 1 });
  const other = shops[1].shopper(shopper.cookies);
  await waitFor(async () => isDeepStrictEqual(await other.cart(), { apple: 1, pear: 1, plum: 1 }));
});

test("Cluster: sessions are on all its masters", { skip: noRedis }, async (t) => {
  const nodes = await startCluster(t);
  const store = `redis+cluster://${nodes.map(({ address }) => address).join(",")}`;
  const shops = [await startNode(t, store), await startNode(t, store)];
  // Of so many, whose places are by chance, some are on each.
  for (let number = 0; number < 36; number++) await takeTurns(shops[0], shops[1]);
  for (const node of nodes) assert.notEqual(await node.say("DBSIZE"), ":0");
});

const WRONG: readonly (readonly [store: string, sentence: RegExp])[] = [
  ["store=http://a", /invalid store "http:\/\/a" of session zone "carts": it must be redis/],
  ["store=redis://u:secret@a:0", /invalid store "redis:\/\/a:0" of session zone "carts": "a:0" is no host\[:port\]/],
  ["store=redis://a,b", /several hosts need "redis\+sentinel:\/\/" or "redis\+cluster:\/\/"/],
  ["store=redis+sentinel://a", /the name of the master must follow the sentinels' hosts/],
  ["store=redis+cluster://a/1", /a cluster has no databases but 0/],
  ["store=redis://a verify=off", /"ca" and "verify" need TLS/],
  ["password_file=x", /session zone "carts" has no "store"/],
];

for (const [store, sentence] of WRONG) {
  test(`refused: ${store}`, async (t) => {
    const config = `http { session_zone carts:1m ${store}; }`;
    const { code, stderr } = await runHoldfast(t, { config, args: ["-t"] });
    assert.equal(code, 1);
    assert.match(stderr, sentence);
    assert.doesNotMatch(stderr, /secret/);
  });
}
