import { list } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { namesFraming } from "../../wire/http1/hop_by_hop.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { headTemplate, type Template } from "../core/script.ts";

/** A field that is set in requests to servers; one without a value is not sent. */
export interface SetField {
  readonly name: HeadText;
  readonly value: Template<HeadText>;
}

/** `…_set_header` */
export function setHeader(about: { readonly doc: string; readonly defaultText: string }) {
  return list<SetField>({
    in: HTTP_LOCATION,
    args: [2, 2],
    syntax: "field value",
    ...about,
    item(at, scope) {
      const [name, value] = at.args;
      if (value !== "" && namesFraming(name))
        warn(at, scope, `"${at.name} ${name}" is ignored, the framing of a body is always its own`);
      return { name: headText(name), value: headTemplate(scope, at, value) };
    },
  });
}
