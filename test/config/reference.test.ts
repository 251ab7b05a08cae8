import assert from "node:assert/strict";
import { test } from "node:test";
import * as d from "../../src/config/directives.ts";
import { renderReference } from "../../src/config/reference.ts";
import { defineDirectives } from "../../src/config/schema.ts";

test("the reference page lists modules and directives by name, each as declared", () => {
  const one = defineDirectives("b_module", {
    zeta: d.flag({ in: ["http", "server"], default: true, doc: "Turns zeta on." }),
    alpha: d.texts({ in: ["if in location"], doc: "Adds an alpha." }),
  });
  const two = defineDirectives("a_module", {
    group: d.block({ in: ["main"], context: "http", doc: "Opens a group." }),
    area: d.directive({
      in: ["server"],
      block: "location",
      args: [1, 1],
      syntax: "uri",
      doc: "Opens an area.",
      initial: () => undefined,
      read: () => true,
    }),
  });
  const page = renderReference([one, two]);
  assert.equal(page, renderReference([two, one]));
  assert.equal(
    page,
    `# Directives

Written by \`scripts/directives-doc.ts\` from the declarations in the source; 4 directives in 2 modules.

- [a_module](#a_module) (2)
- [b_module](#b_module) (2)

## a_module

### area

- Syntax: \`area uri { … }\`
- Default: —
- Context: \`server\`

Opens an area.

### group

- Syntax: \`group { … }\`
- Default: —
- Context: \`main\`

Opens a group.

## b_module

### alpha

- Syntax: \`alpha string;\`
- Default: —
- Context: \`if in location\`
- May be written several times in one block.

Adds an alpha.

### zeta

- Syntax: \`zeta on|off;\`
- Default: \`zeta on;\`
- Context: \`http\`, \`server\`

Turns zeta on.
`,
  );
});

test("tables of one module's name make one section", () => {
  const specs = { x: d.flag({ in: ["main"], doc: "X." }) };
  const page = renderReference([defineDirectives("m", specs), defineDirectives("m", { y: specs.x })]);
  assert.equal(page.match(/^## /gm)?.length, 1);
  assert.match(page, /2 directives in 1 modules/);
});
