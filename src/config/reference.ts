import type { DirectiveSpec, Directives, Specs } from "./schema.ts";

/**
 * The text of docs/directives.md: all directives by module. If a module declares a name twice (in several tables), there
 * is an entry for each.
 */
export function renderReference(tables: readonly Directives<Specs>[]): string {
  const modules = new Map<string, [string, DirectiveSpec<unknown>][]>();
  for (const { name, specs } of tables) {
    const entries = modules.get(name) ?? [];
    entries.push(...Object.entries(specs));
    modules.set(name, entries);
  }
  const sorted = [...modules].sort(([a], [b]) => compare(a, b));
  const contents = sorted.map(([name, specs]) => `- [${name}](#${anchor(name)}) (${specs.length})`);
  const count = sorted.reduce((sum, [, specs]) => sum + specs.length, 0);
  return [
    "# Directives",
    `Written by \`scripts/directives-doc.ts\` from the declarations in the source; ${count} directives in ${sorted.length} modules.`,
    contents.join("\n"),
    ...sorted.map(([name, specs]) => section(name, specs)),
  ]
    .join("\n\n")
    .concat("\n");
}

function section(module: string, specs: readonly (readonly [string, DirectiveSpec<unknown>])[]): string {
  const entries = [...specs].sort(([a], [b]) => compare(a, b)).map(([name, spec]) => entry(name, spec));
  return [`## ${module}`, ...entries].join("\n\n");
}

function entry(name: string, spec: DirectiveSpec<unknown>): string {
  const fallback = spec.defaultText === undefined ? "—" : code(`${name} ${spec.defaultText};`);
  return [
    `### ${name}`,
    [
      `- Syntax: ${code(syntax(name, spec))}`,
      `- Default: ${fallback}`,
      `- Context: ${spec.in.map((context) => `\`${context}\``).join(", ")}`,
      ...(spec.repeat === true ? ["- May be written several times in one block."] : []),
    ].join("\n"),
    spec.doc,
  ].join("\n\n");
}

function syntax(name: string, spec: DirectiveSpec<unknown>): string {
  const line = `${name} ${spec.syntax}`.trim();
  if (spec.block === undefined) return line.endsWith(";") ? line : `${line};`;
  return line.includes("{") ? line : `${line} { … }`;
}

function code(text: string): string {
  return text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
}

/** GitHub's id of a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, "")
    .replaceAll(" ", "-");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
