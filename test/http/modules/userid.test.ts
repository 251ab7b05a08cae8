import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../../support/holdfast.ts";
import { describeSentences } from "../../support/sentences.ts";
import { get, type RawResponse } from "../../support/tcp.ts";
import { waitFor } from "../../support/wait.ts";

/** Locations, each with its directives. */
const LOCATIONS: Readonly<Record<string, string>> = {
  off: "userid off;",
  log: "userid log;",
  v1: "userid v1;",
  on: "",
  named: "userid_name My.Id; userid_domain example.org; userid_path /a; userid_p3p 'CP=\"x\"';",
  nobody: "userid_name named; userid_domain none; userid_p3p none; userid_expires off; userid_mark off;",
  max: "userid_expires max; userid_flags secure httponly; userid_flags samesite=LAX;",
  strict: "userid_flags samesite=strict off;",
  sites: "userid_flags samesite=none samesite=strict;",
  marked: "userid_mark x; userid_service 258;",
  equals: "userid_mark =;",
  "marked-v1": "userid v1; userid_mark 9; userid_service 258;",
  "log-marked": "userid log; userid_mark x;",
};

const socketOf = (port: number): string => `/tmp/holdfast-userid-${port}.sock`;

const config = ([port]: readonly number[]): string => `http {
  access_log off;
  map $arg_reset $uid_reset { "" ""; yes 1; default $arg_reset; }
  server {
    listen 127.0.0.1:${port}; listen unix:${socketOf(port)};
    userid on; add_header X-Uid "$uid_got|$uid_set|$uid_reset";
    location / { userid_p3p outer; userid_path /outer;
    ${Object.entries(LOCATIONS)
      .map(([name, directives]) => `location /${name} { ${directives} return 200 x; }`)
      .join("\n    ")}
    }
  }
}`;

/** Nobody's number: 16 bytes. */
const SENT = Buffer.from("7f0000016000000000000102030405fe", "hex").toString("base64");
const DIGITS = SENT.slice(0, 22);

const COOKIES = [
  ...[`uid=${SENT}`, `uid=${DIGITS}x=`, `uid=${DIGITS}x=more`, `uid=${DIGITS}`, `uid=${DIGITS}x`, `uid=${DIGITS}9=`],
  ...[
    `UID = ${SENT}`,
    `a=b; uid=${SENT}; c=d`,
    `a=b;uid=${SENT} ; uid=other`,
    `xuid=${SENT}`,
    `uid; uid=${SENT}`,
    `My.id=${SENT}`,
  ],
  ...[
    "uid=",
    "uid=short",
    `uid=${DIGITS.slice(1)}`,
    `uid=!${DIGITS}`,
    `uid=${"A".repeat(22)}`,
    `uid=${"A".repeat(22)}x=`,
  ],
  ...[
    `uid=${DIGITS.slice(0, 20)}==xx`,
    `uid=${DIGITS.slice(0, 21)}==`,
    `uid=${DIGITS.slice(0, 17)}=abcdefgh`,
    `uid=-_${DIGITS}`,
  ],
  ...[`uid=====${DIGITS}`, `named=${DIGITS}x=`],
];

/** A response's fields, with numbers that are the server's own as the length of what stands there. */
function comparable({ headers }: RawResponse): string {
  return headers
    .filter(([name]) => ["set-cookie", "x-uid", "p3p"].includes(name))
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n")
    .replace(/\b[0-9A-F]{32}\b/g, (shown) => (known(Buffer.from(shown, "hex").swap32()) ? shown : NEW))
    .replace(/=([A-Za-z0-9+/]{22})(?=.=)/g, (all, digits) => (known(Buffer.from(digits, "base64")) ? all : `=${NEW}`));
}

const NEW = "NEW";
const known = (uid: Buffer): boolean => DIGITS.startsWith(uid.toString("base64").slice(0, 16));

test("clients are known, numbered and marked as nginx does it", { skip: have("nginx") }, async (t) => {
  const ours = await startHoldfast(t, { config });
  const theirs = await startNginx(t, { config });
  const answers = new Set<string>();
  for (const name of Object.keys(LOCATIONS)) {
    for (const reset of ["", "?reset=0", "?reset=yes", "?reset=log"]) {
      for (const cookie of [undefined, ...COOKIES]) {
        const path = `/${name}${reset}`;
        const fields = cookie === undefined ? [] : [`Cookie: ${cookie}`];
        const [found, expected] = await Promise.all(
          [ours, theirs].map(async ({ port }) => comparable(await get(port, path, ...fields))),
        );
        assert.equal(found, expected, `${path} ${cookie}`);
        answers.add(found);
      }
    }
  }
  assert.ok(
    [...answers].some((answer) => answer.includes(`=${DIGITS}x=;`)),
    "one was marked anew",
  );
  assert.ok(
    [...answers].some((answer) => answer.includes(`=${NEW}9=;`)),
    "one was marked at once",
  );
  const logged = ({ prefix }: Running, log: string): string[] =>
    [...log.matchAll(/\[(error|notice)\] [\d#]+: \*\d+ (.*?userid cookie "[^"]*"[^,]*)/g)].map(([, level, what]) =>
      `${level} ${what}`.replaceAll(prefix, ""),
    );
  const expected = logged(theirs, theirs.errorLog());
  await waitFor(() => logged(ours, ours.errorLog()).length >= expected.length, "as many lines as nginx has");
  const said = logged(ours, ours.errorLog());
  assert.deepEqual(said, expected);
  for (const part of ["too short", "invalid", "was reset"])
    assert.ok(
      said.some((line) => line.includes(part)),
      part,
    );
});

/** The four numbers in `$uid_set`, as written there. */
async function uidSet(port: number | string, path: string): Promise<string[]> {
  const uid = (await get(port, path)).header("x-uid")?.split("|")[1] ?? "";
  return uid.slice(uid.indexOf("=") + 1).match(/.{8}/g) ?? [];
}

test("a number is made of the server, the time, the process and a sequence", async (t) => {
  const holdfast = await startHoldfast(t, { config });
  const { port } = holdfast;
  const before = Math.floor(Date.now() / 1000);
  const first = await uidSet(port, "/on");
  const second = await uidSet(port, "/on");
  const third = await uidSet(port, "/marked");
  const old = await uidSet(port, "/v1");
  const older = await uidSet(port, "/marked-v1");
  const after = Math.floor(Date.now() / 1000);
  const bytes = (word: string): string => Buffer.from(word, "hex").swap32().toString("hex");
  assert.equal(bytes(first[0]), "7f000001");
  assert.equal(bytes(third[0]), "00000102");
  assert.deepEqual([old[0], older[0]], ["00000000", "00000102"]);
  for (const seconds of [bytes(first[1]), bytes(third[1]), old[1], older[1]].map((word) => Number.parseInt(word, 16))) {
    assert.ok(seconds >= before && seconds <= after, `${seconds}`);
  }
  assert.equal(first[2], second[2]);
  assert.equal(bytes(first[2]), old[2].toLowerCase());
  assert.deepEqual(
    [first, second, third].map((words) => bytes(words[3])),
    ["03030302", "03030402", "03030502"],
  );
  assert.deepEqual([old[3], older[3]], ["00000001", "00000101"]);
  assert.equal((await uidSet(socketOf(port), "/on"))[0], "00000000", "a unix socket has no address");
});

test("a cookie expires when it is said to", async (t) => {
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { access_log off; userid on; server { listen 127.0.0.1:${port};
      location /short { userid_expires 1h; return 200 x; } location /far { userid_expires 30y; return 200 x; }
      location /never { userid_expires 0; return 200 x; } } }`,
  });
  const expires = async (path: string): Promise<string | undefined> =>
    /; expires=([^;]*); path=\/$/.exec((await get(port, path)).header("set-cookie") ?? "")?.[1];
  const earliest = Math.floor(Date.now() / 1000) + 3600;
  const short = (await expires("/short")) ?? "";
  assert.match(short, /^[A-Z][a-z]{2}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/);
  const time = Date.parse(short.replace(/-(\d\d) /, "-20$1 ")) / 1000;
  assert.ok(time >= earliest && time <= earliest + 60, short);
  assert.match((await expires("/far")) ?? "", /^[A-Z][a-z]{2}, \d\d-[A-Z][a-z]{2}-20\d\d /);
  assert.match((await get(port, "/never")).header("set-cookie") ?? "", /^uid=[^;]{24}; path=\/$/);
});

describeSentences("userid", [
  ["another state", "userid maybe;"],
  ["a state twice", "userid on;\nuserid off;"],
  ["a service", "userid_service -1;"],
  ["a mark of two", "userid_mark ab;"],
  ["no mark", 'userid_mark "";'],
  ["a mark of another kind", "userid_mark -;"],
  ["a mark twice", "userid_mark off;\nuserid_mark off;"],
  ["a wrong time", "userid_expires soon;"],
  ["a time twice", "userid_expires max;\nuserid_expires 1;"],
  ["a name twice", "userid_name a;\nuserid_name a;"],
  ["an unknown flag", "userid_flags secure lax;"],
  ["a flag twice", "userid_flags secure off SECURE;"],
  ["two sites", "userid_flags samesite=lax;\nuserid_flags samesite=none httponly;"],
  ["four flags", "userid_flags secure httponly samesite=lax off;"],
  ["in an if", "server {\nlocation / {\nif ($uri) {\nuserid on;\n}\n}\n}"],
  ["only one variable is changeable", "userid on;\nserver {\nset $uid_reset 1;\n}"],
  ["the variable of what was sent", "server {\nset $uid_got 1;\n}"],
]);
