/** Requests of the uwsgi protocol, as a web server writes them: a packet of variables, then the body as it is. Byte strings. */

/** The most that the variables of one request may take: their length has two bytes. */
export const MAX_VARIABLES = 65_535;

/** A variable in parts, for `packet`: what precedes its value, and what follows it. */
export const VARIABLE = {
  before: (name: string, valueLength: number): string => length(name.length) + name + length(valueLength),
  after: "",
};

export function variable(name: string, value: string): string {
  return VARIABLE.before(name, value.length) + value;
}

/** `variables`: joined, at most MAX_VARIABLES bytes. The modifiers say what is asked of the server. */
export function packet(modifier1: number, modifier2: number, variables: string): string {
  return String.fromCharCode(modifier1) + length(variables.length) + String.fromCharCode(modifier2) + variables;
}

/** Two bytes, the lower one first. */
function length(value: number): string {
  return String.fromCharCode(value & 0xff, value >> 8);
}
