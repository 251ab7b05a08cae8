import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../../support/have.ts";
import { startHoldfast, startNginx } from "../../support/holdfast.ts";
import { describeSentences } from "../../support/sentences.ts";
import { get } from "../../support/tcp.ts";

/** Locations, each with its directives. */
const LOCATIONS: Readonly<Record<string, string>> = {
  none: "",
  unlisted: "modern_browser unlisted; ancient_browser Old 'Lynx ' netscape4;",
  listed:
    "modern_browser msie 5.5; modern_browser gecko 1.0.0; modern_browser opera 9.0; modern_browser SAFARI 413; modern_browser konqueror 3.0;",
  "all-but": "modern_browser unlisted; modern_browser msie 6.0.0.5; ancient_browser Old; ancient_browser netscape4;",
  "no-opera":
    "modern_browser konqueror 3.4; modern_browser msie 6; modern_browser_value new; ancient_browser_value old;",
  values:
    "modern_browser unlisted; ancient_browser Old; modern_browser_value new; modern_browser_value newer; ancient_browser_value '';",
  versions:
    "modern_browser gecko 4.0.; modern_browser gecko 1; modern_browser opera 0; modern_browser safari .5; modern_browser konqueror 4000.99.99.99;",
};

const config = ([port]: readonly number[]): string => `http {
  access_log off;
  ancient_browser_value ancient;
  server {
    listen 127.0.0.1:${port};
    ancient_browser Outer; modern_browser opera 7.5; modern_browser_value outer;
    ${Object.entries(LOCATIONS)
      .map(
        ([name, directives]) =>
          `location /${name}/ { ${directives} return 200 "[$modern_browser|$ancient_browser|$msie]"; }`,
      )
      .join("\n    ")}
    location /if/ { if ($msie) { return 200 msie; } return 200 other; }
  }
}`;

const AGENTS = [
  ...[
    "Opera/7.50 (X11; FreeBSD i386; U)  [en]",
    "Mozilla/5.0 (X11; FreeBSD i386; U) Opera 7.50  [en]",
    "Opera/9.01 (X11)",
  ],
  ...[
    "Mozilla/4.0 (compatible; MSIE 6.0; X11; FreeBSD i386) Opera 7.50  [en]",
    "Opera/8.0 (Windows NT 5.1; U; ru)",
    "Opera",
    "Opera ",
  ],
  ...[
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.0; en) Opera 10.1",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
  ],
  ...[
    "Mozilla/4.0 (compatible; MSIE 5.5; Windows NT 5.1)",
    "Mozilla/4.0 (compatible; MSIE 5.05)",
    "Mozilla/4.0 (compatible; MSIE 6.0.0.5)",
  ],
  ...[
    "Mozilla/4.0 (compatible; MSIE 6.0.0.4)",
    "Mozilla/4.0 (compatible; MSIE 6.0.0.4.9)",
    "Mozilla/4.0 (compatible; MSIE 10.0; Windows)",
  ],
  ...[
    "MSIE 7.0",
    "Mozilla/4.0 (compatible; MSIE ",
    "Mozilla/4.0 (compatible; MSIE 7",
    "Mozilla/4.0 (compatible; MSIE 7.",
    "MSIE 7.0 Opera",
  ],
  ...[
    "Mozilla/5.0 (X11; U; Linux i686; en-US; rv:1.0.0) Gecko/20020610",
    "Mozilla/5.0 (Windows; U; rv:1.5) Gecko/20031006",
  ],
  ...[
    "Mozilla/5.0 (X11; U; rv:0.9.9) Gecko/1",
    "Mozilla/5.0 (X11; rv:109.0) Gecko/20100101 Firefox/115.0",
    "Mozilla/5.0 (X11; rv:1.0.0.99) Gecko",
  ],
  ...[
    "Mozilla/5.0 (Macintosh) AppleWebKit/125.2 (KHTML, like Gecko) Safari/125.7",
    "Mozilla/5.0 (SymbianOS/9.1) Safari/413",
  ],
  ...[
    "Mozilla/5.0 (Macintosh) Safari/417.9.3",
    "Mozilla/5.0 (compatible; Konqueror/3.1; Linux)",
    "Mozilla/5.0 (compatible; Konqueror/3.4; Linux)",
  ],
  ...[
    "Mozilla/5.0 (compatible; Konqueror/3.5) KHTML/3.5.1",
    "Mozilla/5.0 (compatible; Konqueror/4000.99.99.99)",
    "Mozilla/5.0 (compatible; Konqueror/x)",
  ],
  ...[
    "Mozilla/4.72 [en]",
    "Mozilla/4.72 [",
    "Mozilla/4.72 ",
    "Mozilla/0.72 [en]",
    "Mozilla/5.72 [en]",
    "mozilla/3.0 [en] x",
    " Mozilla/3.0 [en] x",
  ],
  ...[
    "Old",
    "An Older One",
    "Outer",
    "Lynx 2",
    "Lynx/2",
    "curl/8",
    "",
    "Mozilla/5.0 (rv:4.0.1)",
    "Mozilla/5.0 (X; rv:1)",
    "Mozilla/5.0 (X; rv:0.99)",
  ],
];

test("a browser is modern or ancient where nginx says so", { skip: have("nginx") }, async (t) => {
  const ours = await startHoldfast(t, { config });
  const theirs = await startNginx(t, { config });
  const answers = new Set<string>();
  for (const name of [...Object.keys(LOCATIONS), "if"]) {
    for (const fields of [[], ...AGENTS.map((agent) => [`User-Agent: ${agent}`])]) {
      const [found, expected] = await Promise.all(
        [ours, theirs].map(async ({ port }) => (await get(port, `/${name}/`, ...fields)).body),
      );
      assert.equal(found, expected, `${name}, ${fields.join()}`);
      answers.add(found);
    }
  }
  for (const answer of ["[newer||]", "[||]", "[new||1]", "[|old|1]", "[outer||]", "msie"])
    assert.ok(answers.has(answer), answer);
});

test("a version of very many digits is above any other, and none is too long to read", async (t) => {
  const { port } = await startHoldfast(t, { config });
  const body = async (version: string): Promise<string> =>
    (await get(port, "/listed/", `User-Agent: Mozilla/5.0 (X11; rv:${version})`)).body;
  assert.equal(await body("9".repeat(900)), "[outer||]");
  assert.equal(await body(`0.0.0.0.${"9".repeat(900)}`), "[|ancient|]");
  assert.equal(await body(`${".".repeat(900)}9`), "[|ancient|]");
});

describeSentences("browsers", [
  ["an unknown browser", "modern_browser chrome 1.0;"],
  ["a wrong version", "modern_browser msie 1.0a;"],
  ["an empty version", 'modern_browser msie "";'],
  ["no argument", "modern_browser;"],
  ["three arguments", "modern_browser msie 1 2;"],
  ["no string", "ancient_browser;"],
  ["two values", "modern_browser_value a b;"],
  ["in an if", "server {\nlocation / {\nif ($uri) {\nancient_browser_value a;\n}\n}\n}"],
  ["the variables are changeable", "server {\nset $msie 1;\nset $modern_browser 1;\nset $ancient_browser 1;\n}"],
]);
