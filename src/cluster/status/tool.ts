import type { Tool, ToolRequest } from "../../runtime/application.ts";

/** `holdfast cluster status|drain|undrain|leave`: what commands.ts answers, at the terminal. */
export const clusterTool: Tool = {
  name: "cluster",
  usage: [
    ["status [--json]", "show who sees whom in the group of nodes"],
    ["drain", "take this node out of service; it goes on answering"],
    ["undrain", "let it in again"],
    ["leave", "end as with -s quit: tell the others first"],
  ],
  parse,
};

const COMMANDS: readonly string[] = ["status", "drain", "undrain", "leave"];

function parse(words: readonly string[]): ToolRequest | string {
  const json = words.includes("--json");
  const [what, ...rest] = words.filter((word) => word !== "--json");
  if (what === undefined) return "cluster: status, drain, undrain or leave?";
  if (!COMMANDS.includes(what)) return `cluster: there is no "${what}", but status, drain, undrain and leave`;
  if (rest.length > 0) return `cluster ${what}: what is "${rest[0]}"?`;
  if (json && what !== "status") return `cluster ${what}: what is "--json"?`;
  const request = { command: `cluster ${what}`, ...(json ? { json } : {}) };
  if (what === "status") return { request, show: ({ text }) => String(text), unbroken: true };
  return {
    request,
    show: ({ node, state }) => `node ${node} is ${state}`,
    ...(what === "leave" ? { signal: "quit" } : {}),
  };
}
