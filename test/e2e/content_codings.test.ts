/** Brotli and Zstandard beside gzip: which one a client gets, their entity tags, levels, flushes and files. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { get as httpGet, type IncomingMessage } from "node:http";
import { test } from "node:test";
import {
  brotliCompressSync,
  brotliDecompressSync,
  createBrotliDecompress,
  createGunzip,
  createZstdDecompress,
  gunzipSync,
  gzipSync,
  zstdCompressSync,
  zstdDecompressSync,
} from "node:zlib";
import { httpBackend } from "../support/backend.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { watchPeak, workersOf } from "../support/processes.ts";
import { get, RawConnection, type RawResponse } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const TEXT = "A line of text that comes again and again, now and then.\n".repeat(200);
const LONG = Array.from({ length: 60_000 }, (_, i) => `${i * i} is the square of ${i}\n`).join("");

const DECODE: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  gzip: (bytes) => gunzipSync(bytes),
  br: (bytes) => brotliDecompressSync(bytes),
  zstd: (bytes) => zstdDecompressSync(bytes),
  "": (bytes) => bytes,
};

const DECODER: Readonly<Record<string, () => NodeJS.ReadWriteStream>> = {
  gzip: () => createGunzip(),
  br: () => createBrotliDecompress(),
  zstd: () => createZstdDecompress(),
};

function decoded(response: RawResponse): string {
  return DECODE[response.header("content-encoding") ?? ""](Buffer.from(response.body, "latin1")).toString("latin1");
}

const ALL = "gzip on; brotli on; zstd on;";

test("a client gets the coding that it wants most; of those it wants alike, zstd before br before gzip", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      types { text/html html; text/css css; } gzip_vary on; ${ALL}
      server {
        listen 127.0.0.1:${port};
        location / { }
        location /types/ { brotli_types text/css; zstd_types text/css; zstd_min_length 1m; alias html/; }
        location /gzip/ { brotli off; zstd off; alias html/; }
      }
    }`,
    files: { "html/text.html": TEXT, "html/text.css": TEXT, "html/long.html": LONG },
  });
  const answer = async (path: string, accepted: string) => {
    const response = await get(holdfast.port, path, `Accept-Encoding: ${accepted}`);
    assert.equal(decoded(response), path.includes("long") ? LONG : TEXT, `${path} ${accepted}`);
    return response;
  };
  for (const [accepted, coding] of [
    ["gzip, deflate, br, zstd", "zstd"],
    ["gzip, br", "br"],
    ["gzip", "gzip"],
    ["gzip;q=1, br;q=0.9, zstd;q=0.5", "gzip"],
    ["gzip;q=0.1, br;q=0.2, zstd;q=0.1", "br"],
    ["zstd;q=0, br;q=0.000, gzip;q=0.001", "gzip"],
    ["br;q=2, gzip", "gzip"],
    ["BR", "br"],
    ["xbr, brx, gzip", "gzip"],
    ["identity", undefined],
    ["*", undefined],
    ["zstd;q=0, br;q=0, gzip;q=0", undefined],
  ] as const) {
    const response = await answer("/text.html", accepted);
    assert.equal(response.header("content-encoding"), coding, accepted);
    assert.equal(response.header("vary"), "Accept-Encoding");
    assert.equal(response.header("content-length") === undefined, coding !== undefined);
  }
  assert.equal((await answer("/types/text.css", "gzip, br, zstd")).header("content-encoding"), "br");
  assert.equal((await answer("/gzip/text.html", "gzip, br, zstd")).header("content-encoding"), "gzip");
  for (const coding of ["gzip", "br", "zstd"]) {
    assert.equal((await answer("/long.html", coding)).header("content-encoding"), coding);
  }
});

test("each coding has an entity tag, by which it is found unchanged, here and at the backend", async (t) => {
  const asked: string[] = [];
  const { address } = await httpBackend(t, ({ headers }, response) => {
    const wanted = headers["if-none-match"] ?? "";
    asked.push(wanted);
    response.setHeader("ETag", '"backend"').setHeader("Content-Type", "text/html");
    const known = /(^|, )(W\/)?"backend"(,|$)/.test(wanted);
    response.writeHead(known ? 304 : 200).end(known ? undefined : TEXT);
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      ${ALL} types { text/html html; }
      server { listen 127.0.0.1:${port}; location /proxy { proxy_pass http://${address}; } }
    }`,
    files: { "html/text.html": TEXT },
  });
  for (const path of ["/text.html", "/proxy"]) {
    const tags = new Set<string>();
    for (const coding of ["identity", "gzip", "br", "zstd"]) {
      const accepted = `Accept-Encoding: ${coding}`;
      const etag = (await get(holdfast.port, path, accepted)).header("etag") ?? "";
      assert.match(etag, coding === "identity" ? /^"/ : /^W\/"/);
      tags.add(etag);
      for (const list of [etag, `"other-br", ${etag}`, etag.replace("W/", "")]) {
        const again = await get(holdfast.port, path, accepted, `If-None-Match: ${list}`);
        assert.equal(again.status, 304, `${path} ${list}`);
        if (coding !== "gzip") assert.equal(again.header("etag"), etag);
        assert.equal(again.header("content-encoding"), undefined);
      }
      const changed = await get(holdfast.port, path, accepted, `If-None-Match: "other", ${etag.replace('"', '"x')}`);
      assert.equal(changed.status, 200);
    }
    assert.equal(tags.size, 4);
  }
  assert.ok(asked.includes('W/"backend-br", W/"backend"'), asked.join("\n"));
});

test("every level makes what can be read, of a short body, a long one and one in pieces", async (t) => {
  const levels = [
    ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(
      (level) => `location /br/${level}/ { brotli on; brotli_comp_level ${level};`,
    ),
    ...[-5, 1, 3, 9, 10, 19, 22].map((level) => `location /zstd/${level}/ { zstd on; zstd_comp_level ${level};`),
    ...[1, 4, 6, 9].map((level) => `location /gzip/${level}/ { gzip on; gzip_comp_level ${level};`),
    "location /br/window/ { brotli on; brotli_window 1k;",
    "location /br/large/ { brotli on; brotli_window 16m;",
  ];
  const { address } = await httpBackend(t, ({ url }, response) => {
    response.setHeader("Content-Type", "text/html");
    if (url !== "/pieces") {
      response.end(url === "/long" ? LONG.slice(0, 300_000) : TEXT);
      return;
    }
    response.write("first, ");
    setImmediate(() => response.end("last"));
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server {
      listen 127.0.0.1:${port};
      ${levels.map((place) => `${place} proxy_buffering off; proxy_pass http://${address}/; }`).join("\n")}
    } }`,
  });
  for (const place of levels) {
    const path = / (\/\w+\/[\w-]+\/) /.exec(place)?.[1] ?? "";
    for (const [name, text] of [
      ["short", TEXT],
      ["long", LONG.slice(0, 300_000)],
      ["pieces", "first, last"],
    ]) {
      const response = await get(holdfast.port, path + name, `Accept-Encoding: ${path.split("/")[1]}`);
      assert.equal(response.header("content-encoding"), path.split("/")[1]);
      assert.ok(decoded(response) === text, path + name);
    }
  }
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg|error)\]/);
});

for (const [coding, directives] of [
  ["br", "brotli on;"],
  ["br", "brotli on; brotli_comp_level 11;"],
  ["zstd", "zstd on;"],
  ["zstd", "zstd on; zstd_comp_level 19;"],
]) {
  test(`what a backend sends without buffering is passed on at once (${directives})`, async (t) => {
    let goOn: (() => void) | undefined;
    const { address } = await httpBackend(t, (_request, response) => {
      response.setHeader("Content-Type", "text/html");
      response.write("the first part, ");
      goOn = () => response.end("the last part");
    });
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `http { server {
        listen 127.0.0.1:${port};
        location / { ${directives} proxy_buffering off; proxy_pass http://${address}; }
      } }`,
    });
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: ${coding}\r\nConnection: close\r\n\r\n`);
    // The last part is only sent when something of the first is here.
    await connection.until((received) => /\r\n\r\n[0-9a-f]+\r\n/.test(received));
    goOn?.();
    assert.equal(decoded(await connection.readResponse()), "the first part, the last part");
    connection.close();
  });
}

test("files that are compressed already are chosen in the same way", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      types { text/html html; } gzip_vary on; gzip_static on; brotli_static on; zstd_static on;
      server {
        listen 127.0.0.1:${port};
        location / { }
        location /always/ { gunzip on; gzip_static always; alias html/; }
      }
    }`,
    files: {
      "html/a.html": "plain",
      "html/a.html.gz": gzipSync("gzip"),
      "html/a.html.br": brotliCompressSync("br"),
      "html/a.html.zst": zstdCompressSync("zstd"),
      "html/b.html": "plain",
      "html/b.html.gz": gzipSync("gzip"),
    },
  });
  for (const [path, accepted, text] of [
    ["/a.html", "gzip, br, zstd", "zstd"],
    ["/a.html", "gzip, br", "br"],
    ["/a.html", "gzip, br;q=0.5", "gzip"],
    ["/a.html", "identity", "plain"],
    ["/b.html", "gzip;q=0.5, br, zstd", "gzip"],
    ["/b.html", "br, zstd", "plain"],
    ["/always/b.html", "br, zstd", "gzip"],
    ["/always/a.html", "gzip;q=0.5, br", "br"],
  ]) {
    const response = await get(holdfast.port, path, `Accept-Encoding: ${accepted}`);
    assert.equal(decoded(response), text, `${path} ${accepted}`);
    assert.equal(response.header("vary"), "Accept-Encoding");
  }
});

test("the ratios are in the log", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      log_format ratio "$uri $gzip_ratio $brotli_ratio $zstd_ratio"; access_log logs/ratio.log ratio;
      types { text/html html; } ${ALL}
      server { listen 127.0.0.1:${port}; }
    }`,
    files: { "html/text.html": TEXT },
  });
  for (const coding of ["gzip", "br", "zstd", "identity"])
    await get(holdfast.port, "/text.html", `Accept-Encoding: ${coding}`);
  await holdfast.waitForLog(/- - -\n/, "logs/ratio.log");
  const [gzip, br, zstd] = holdfast.read("logs/ratio.log").split("\n");
  assert.match(gzip, /html \d+\.\d\d - -$/);
  assert.match(br, /html - \d+\.\d\d -$/);
  assert.match(zstd, /html - - \d+\.\d\d\d$/);
});

test("what is wrong is refused in the modules' words", async (t) => {
  for (const [directive, sentence] of [
    ["brotli_comp_level 12;", "value must be between 0 and 11"],
    ["brotli_window 3k;", '"brotli_window" directive must be 1k, 2k, 4k, 8k, 16k'],
    ["zstd_comp_level 0;", "zstd compress level must between -131072 and 22 excluding 0"],
    ["zstd_comp_level 23;", "zstd compress level must between -131072 and 22 excluding 0"],
    ["zstd_comp_level x;", '"zstd_comp_level" directive invalid number'],
    ["brotli_static maybe;", 'invalid value "maybe"'],
  ]) {
    const { code, stderr } = await runHoldfast(t, { config: `http { ${directive} }`, args: ["-t"] });
    assert.equal(code, 1);
    assert.ok(stderr.includes(sentence), stderr);
  }
});

for (const [coding, directives] of [
  ["gzip", "gzip on; gzip_types *;"],
  ["br", "brotli on; brotli_types *; brotli_comp_level 4;"],
  ["br", "brotli on; brotli_types *; brotli_comp_level 8;"],
  ["zstd", "zstd on; zstd_types *;"],
]) {
  test(`a slow client holds back the backend, and takes no memory (${directives})`, async (t) => {
    // What does not get shorter: the client's speed is the backend's.
    const piece = randomBytes(256 * 1024);
    const pieces = 512;
    let sent = 0;
    const { address } = await httpBackend(t, ({ url }, response) => {
      if (url !== "/big") {
        response.end("alive");
        return;
      }
      const more = () => {
        while (sent < pieces) {
          sent++;
          if (response.write(piece)) continue;
          response.once("drain", more);
          return;
        }
        response.end();
      };
      more();
    });
    const holdfast = await startHoldfast(t, {
      config: ([port]) => `worker_processes 1; http { server {
        listen 127.0.0.1:${port};
        proxy_max_temp_file_size 0;
        location / { ${directives} proxy_pass http://${address}; }
      } }`,
    });
    const ask = (path: string) => get(holdfast.port, path, `Accept-Encoding: ${coding}`);
    assert.equal((await ask("/warm")).status, 200);
    const [worker] = workersOf(holdfast.pid);
    const grown = watchPeak(worker);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { "Accept-Encoding": coding };
      httpGet({ host: "127.0.0.1", port: holdfast.port, path: "/big", agent: false, headers }, resolve).on(
        "error",
        reject,
      );
    });
    // Nothing is read yet, and others are served.
    for (let i = 0; i < 10; i++) assert.equal((await ask("/alive")).status, 200);
    assert.ok(sent < pieces, "the backend has sent all of it");
    let length = 0;
    for await (const bytes of response.pipe(DECODER[coding]())) length += bytes.length;
    assert.equal(length, piece.length * pieces);
    const most = grown();
    assert.ok(most < 64 * 1024, `${most} KiB more than at the start`);
  });
}

test("only so many slow clients have what takes much memory; others get their responses at a lower level", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { server { listen 127.0.0.1:${port};
      location /br { alias html/; brotli on; brotli_types *; brotli_comp_level 9; }
      location /zstd { alias html/; zstd on; zstd_types *; zstd_comp_level 12; } } }`,
    files: { "html/long.html": LONG, "html/random": randomBytes(16 * 1024 * 1024) },
  });
  for (const coding of ["br", "zstd"]) {
    const lengthNow = async () => {
      const response = await get(holdfast.port, `/${coding}/long.html`, `Accept-Encoding: ${coding}`);
      assert.equal(decoded(response), LONG);
      return response.body.length;
    };
    const alone = await lengthNow();
    const slow: RawConnection[] = [];
    for (let i = 0; i < 8; i++) {
      const connection = await RawConnection.open(holdfast.port);
      connection.socket.pause();
      connection.write(`GET /${coding}/random HTTP/1.1\r\nHost: a\r\nAccept-Encoding: ${coding}\r\n\r\n`);
      slow.push(connection);
    }
    await waitFor(async () => (await lengthNow()) > alone, "a lower level");
    for (const connection of slow) connection.close();
    await waitFor(async () => (await lengthNow()) === alone, "the level as it was");
  }
});

test("a client that leaves in the middle of a compressed response leaves nothing behind", async (t) => {
  const { address } = await httpBackend(t, (_request, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end(LONG);
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      log_format end "$uri $status"; access_log logs/access.log end;
      server {
        listen 127.0.0.1:${port};
        location /gzip { gzip on; gzip_comp_level 9; proxy_pass http://${address}; }
        location /zstd { zstd on; zstd_comp_level 19; proxy_pass http://${address}; }
        location /br { brotli on; proxy_pass http://${address}; }
      }
    }`,
  });
  for (const coding of ["gzip", "zstd", "br"]) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`GET /${coding} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: ${coding}\r\n\r\n`);
    connection.close();
    await holdfast.waitForLog(new RegExp(`/${coding} `), "logs/access.log");
    const whole = await get(holdfast.port, `/${coding}`, `Accept-Encoding: ${coding}`);
    assert.ok(decoded(whole) === LONG);
  }
  assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
});
