import { type Command, CommandError } from "../../runtime/control/protocol.ts";
import type { OwnState } from "../own_state.ts";
import type { Snapshot } from "../snapshot.ts";
import { matrixJson } from "./format.ts";
import { statusText } from "./status_text.ts";

/** What is answered of the group at the control socket, in the checker. */

/** Characters of a line of an answer. */
const PIECE = 32 * 1024;

/** `node`: this one's name. */
export function clusterCommands(node: string, own: OwnState, snapshot: Snapshot): ReadonlyMap<string, Command> {
  const status: Command = async ({ json }, reply) => {
    const matrix = snapshot.matrix();
    if (matrix === undefined) throw new CommandError("nothing is known of the cluster yet");
    const text = json === true ? `${matrixJson(matrix)}\n` : `${statusText(matrix).join("\n")}\n`;
    for (let at = 0; at < text.length; at += PIECE) {
      if (!(await reply.line({ text: text.slice(at, at + PIECE) }))) return;
    }
  };
  const drain =
    (on: boolean): Command =>
    async (_request, reply) => {
      if (own.state === "leaving") throw new CommandError(`node "${node}" is leaving`);
      own.drain(on);
      await reply.line({ node, state: own.state });
    };
  // The master says so to the others when it is told to end, as with -s quit.
  const leave: Command = async (_request, reply) => {
    await reply.line({ node, state: "leaving" });
  };
  return new Map([
    ["cluster status", status],
    ["cluster drain", drain(true)],
    ["cluster undrain", drain(false)],
    ["cluster leave", leave],
  ]);
}

/** Where the configuration has no group. */
export const NO_CLUSTER: ReadonlyMap<string, Command> = new Map(
  ["status", "drain", "undrain", "leave"].map((what) => [
    `cluster ${what}`,
    async () => {
      throw new CommandError('there is no "cluster" in the configuration');
    },
  ]),
);
