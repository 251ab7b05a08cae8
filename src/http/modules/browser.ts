import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import type { Request } from "../core/request.ts";
import type { VariableSpec } from "../core/script.ts";
import { isMsie } from "../core/user_agent.ts";

/** Where a browser's version stands in User-Agent. */
interface Mark {
  /** As `modern_browser` names it. */
  readonly browser: string;
  /** How many characters cannot be part of the mark. */
  readonly skip: number;
  readonly text: string;
  /** How far behind the mark's beginning the version is. */
  readonly version: number;
}

/** In the order in which they are looked for: Opera comes first, since it also names others. */
const MARKS: readonly Mark[] = [
  // "Opera/9.01 (X11; …)" or "Mozilla/4.0 (compatible; MSIE 6.0; …) Opera 7.50"
  { browser: "opera", skip: 0, text: "Opera", version: "Opera ".length },
  { browser: "msie", skip: "Mozilla/4.0 (compatible; ".length, text: "MSIE ", version: "MSIE ".length },
  { browser: "gecko", skip: "Mozilla/5.0 (".length, text: "rv:", version: "rv:".length },
  { browser: "safari", skip: "Mozilla/5.0 (".length, text: "Safari/", version: "Safari/".length },
  { browser: "konqueror", skip: "Mozilla/5.0 (compatible; ".length, text: "Konqueror/", version: "Konqueror/".length },
];

interface ModernBrowser {
  /** Index into MARKS. */
  readonly mark: number;
  /** 6.5 is 6050000: two digits for each part after the first. */
  readonly version: number;
}

/** Opera where none of its versions is listed: it must not be taken for the browser that it also names. */
const NO_OPERA: ModernBrowser = { mark: 0, version: Number.POSITIVE_INFINITY };

interface Modern {
  readonly browsers: readonly ModernBrowser[];
  readonly unlisted: boolean;
}

interface Ancient {
  /** Parts of User-Agent. */
  readonly texts: readonly string[];
  readonly netscape4: boolean;
}

const value = (of: string) =>
  directive<string>({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "string",
    doc: `The value of \`$${of}\` for such a browser.`,
    initial: () => "1",
    defaultText: "1",
    repeat: true,
    read: ({ args }) => args[0],
  });

const specs = {
  modern_browser: directive<Modern>({
    in: HTTP_LOCATION,
    args: [1, 2],
    syntax: "browser version | unlisted",
    doc: "A browser (`msie`, `gecko`, `opera`, `safari`, `konqueror`) that is modern from a version on: `$modern_browser` has a value for it, and `$ancient_browser` for an older one. `unlisted`: so is each that no directive names. It looks at `User-Agent`.",
    initial: () => ({ browsers: [], unlisted: false }),
    repeat: true,
    read(at, _, { browsers, unlisted } = { browsers: [], unlisted: false }) {
      if (at.args.length === 2) return { browsers: [...browsers, readBrowser(at)], unlisted };
      if (at.args[0] !== "unlisted") fail(at, `invalid parameter "${at.args[0]}"`);
      return { browsers, unlisted: true };
    },
  }),
  ancient_browser: directive<Ancient>({
    in: HTTP_LOCATION,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "string …",
    doc: "Browsers are ancient that have one of these strings in `User-Agent`; `netscape4` stands for any that begins with `Mozilla/1` to `Mozilla/4`.",
    initial: () => ({ texts: [], netscape4: false }),
    repeat: true,
    read: ({ args }, _, { texts, netscape4 } = { texts: [], netscape4: false }) => ({
      texts: [...texts, ...args.filter((text) => text !== "netscape4")],
      netscape4: netscape4 || args.includes("netscape4"),
    }),
  }),
  modern_browser_value: value("modern_browser"),
  ancient_browser_value: value("ancient_browser"),
};

function readBrowser(at: Directive): ModernBrowser {
  const [browser, text] = at.args;
  const mark = MARKS.findIndex((mark) => mark.browser === browser.toLowerCase());
  if (mark < 0) fail(at, `unknown browser name "${browser}"`);
  if (/[^\d.]/.test(text)) fail(at, `invalid browser version "${text}"`);
  return { mark, version: versionAt(text, 0, Number.POSITIVE_INFINITY) };
}

/** The version that begins at `from`. It is not read further where it is above `enough` already. */
function versionAt(text: string, from: number, enough: number): number {
  let version = 0;
  let part = 0;
  let scale = 1_000_000;
  for (let at = from; at < text.length; at++) {
    const byte = text.charCodeAt(at);
    if (byte >= 0x30 && byte <= 0x39) {
      part = Math.min(10 * part + byte - 0x30, MOST_PART);
      continue;
    }
    if (byte !== DOT) break;
    version += part * scale;
    if (version > enough) return version;
    part = 0;
    scale = Math.floor(scale / 100);
  }
  return version + part * scale;
}

const DOT = 0x2e;
/** No browser has more, and a version remains an exact number. */
const MOST_PART = 1e9;

interface Browsers {
  readonly modern: Modern;
  readonly ancient: Ancient;
  readonly modernValue: string;
  readonly ancientValue: string;
}

/** ngx_http_browser_module. */
export const browser: HttpModule<Browsers> = defineModule({
  name: "http_browser",
  directives: specs,
  variables: {
    modern_browser: valueFor(true),
    ancient_browser: valueFor(false),
    msie: { get: ({ headers }) => (isMsie(headers.get("user-agent")) ? "1" : ""), cached: true, changeable: true },
  },
  build: (settings): Browsers => ({
    modern: inOrder(settings.modern_browser),
    ancient: settings.ancient_browser,
    modernValue: settings.modern_browser_value,
    ancientValue: settings.ancient_browser_value,
  }),
});

function inOrder({ browsers, unlisted }: Modern): Modern {
  if (browsers.length === 0) return { browsers, unlisted };
  const all = browsers.some(({ mark }) => mark === 0) ? browsers : [...browsers, NO_OPERA];
  return { browsers: all.toSorted((one, other) => one.mark - other.mark), unlisted };
}

function valueFor(modern: boolean): VariableSpec {
  return {
    get(request) {
      const browsers = browser.of(request.location);
      if (isModern(request, browsers) !== modern) return "";
      return modern ? browsers.modernValue : browsers.ancientValue;
    },
    cached: true,
    changeable: true,
  };
}

function isModern({ headers }: Request, { modern, ancient }: Browsers): boolean {
  const { browsers, unlisted } = modern;
  const agent = headers.get("user-agent");
  if (agent === undefined) return unlisted;
  for (const { mark, version } of browsers) {
    const { skip, text, version: behind } = MARKS[mark];
    const found = agent.indexOf(text, skip);
    if (found < 0 || found + behind >= agent.length) continue;
    return versionAt(agent, found + behind, version) >= version;
  }
  if (browsers.length > 0 && !unlisted) return false;
  if (ancient.netscape4 && /^Mozilla\/[1-4].{5}/s.test(agent)) return false;
  return unlisted && !ancient.texts.some((text) => agent.includes(text));
}
