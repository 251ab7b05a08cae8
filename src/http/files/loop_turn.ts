import { defer } from "../../sys/guard.ts";

let turn = 1;
let turnEnds = false;

/** The number of the event loop's turn: what was asked of the system in a turn holds for all requests in it. */
export function loopTurn(): number {
  if (!turnEnds) {
    turnEnds = true;
    defer(endTurn, undefined);
  }
  return turn;
}

function endTurn(): void {
  turnEnds = false;
  turn++;
}
