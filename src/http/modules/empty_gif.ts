import { directive } from "../../config/directives.ts";
import { headText } from "../../wire/head_text.ts";
import { LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { OK } from "../core/codes.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendText } from "../core/engine.ts";
import type { Request } from "../core/request.ts";

/** ngx_http_empty_gif_module: a transparent GIF of one pixel. */
export const emptyGif = defineModule({
  name: "http_empty_gif",
  directives: {
    empty_gif: directive<boolean>({
      in: LOCATION,
      args: [0, 0],
      syntax: "",
      doc: "Answers with a transparent GIF of one pixel, which is in memory.",
      initial: () => false,
      inherit: false,
      read: () => true,
    }),
  },
  content: (settings) => (settings.empty_gif ? serve : undefined),
});

const TYPE = headText("image/gif");
const GIF = [
  // One pixel by one, two global colours, black and white.
  "GIF89a\x01\0\x01\0\x80\x01\0\0\0\0\xff\xff\xff",
  // Colour 1 is transparent.
  "!\xf9\x04\x01\0\0\x01\0",
  // The image: at the top left, one by one, colour 1 in LZW.
  ",\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0;",
].join("");
/** 28 Sep 1970, as nginx has it: any client's copy is as new. */
const MODIFIED = 23_349_600;

function serve(request: Request): number {
  const { method, response } = request;
  if (method !== "GET" && method !== "HEAD") return 405;
  const broken = discardBody(request);
  if (broken !== OK) return broken;
  response.lastModified = MODIFIED;
  return sendText(request, 200, TYPE, GIF);
}
