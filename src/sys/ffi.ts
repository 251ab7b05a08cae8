/**
 * Functions of C libraries, through `node:ffi`, which nobody else imports. A "buffer" is lent for the length of a call. A
 * "pointer" may be kept by the kernel or a library: it leads to memory that neither moves nor is collected (`mapMemory`).
 * A "handle" is a pointer to something of the library's own, or to one of its functions: nobody looks behind it here.
 *
 * With HOLDFAST_DEBUG_FFI=1 each argument is checked before each call, and an exception names the function and the argument.
 * Node by itself checks only that a number fits its type.
 */
import * as ffi from "node:ffi";
import { debugsFfi } from "./launch.ts";

/** What values of each type are in JavaScript. */
interface Values {
  readonly void: undefined;
  readonly int32: number;
  readonly uint32: number;
  readonly int64: bigint;
  readonly uint64: bigint;
  readonly pointer: bigint;
  readonly handle: bigint;
  readonly buffer: Uint8Array;
  readonly string: string;
}

type Type = keyof Values;
type ArgumentType = Exclude<Type, "void">;

/** A function's prototype. Arguments are counted from 0. */
interface Prototype {
  readonly return: Type;
  readonly arguments: readonly ArgumentType[];
  /** Of memory that is passed: which argument says how many bytes of it are used. */
  readonly sizes?: Readonly<Record<number, number>>;
  /** The pointers and handles that may be null. */
  readonly nullable?: readonly number[];
}

type Prototypes = Readonly<Record<string, Prototype>>;

/** The functions of these prototypes. */
type Functions<P extends Prototypes> = {
  readonly [Name in keyof P]: (...values: ValuesOf<P[Name]["arguments"]>) => Values[P[Name]["return"]];
};
type ValuesOf<Types extends readonly ArgumentType[]> = { [I in keyof Types]: Values[Types[I]] };

/** Functions of a library, or with null of what this process is made of: Node and the C library. Throws without them. */
export function bind<const P extends Prototypes>(library: string | null, prototypes: P): Functions<P>;
export function bind(library: string | null, prototypes: Prototypes): unknown {
  const { functions } = ffi.dlopen(library, Object.fromEntries(Object.entries(prototypes).map(native)));
  if (!debugsFfi) return functions;
  return Object.fromEntries(
    Object.entries(prototypes).map(([name, prototype]) => [name, checked(name, prototype, functions[name])]),
  );
}

/**
 * The same, bound when one of them is first called: that takes some 10 KB and 100 µs for each, which a process that does not
 * need them is not to pay. Throws then. Later calls cost what they do after `bind`.
 */
export function bindWhenUsed<const P extends Prototypes>(library: string | null, prototypes: P): Functions<P>;
export function bindWhenUsed(library: string | null, prototypes: Prototypes): unknown {
  const waiting = {};
  // Once it is bound, each function is a property of this object itself, and hides the one that is waiting.
  const functions: Record<string, unknown> = Object.create(waiting);
  const bound = (name: string): unknown => {
    for (const [known, value] of Object.entries(bind(library, prototypes))) {
      Object.defineProperty(functions, known, { value, enumerable: true });
    }
    return functions[name];
  };
  for (const name of Object.keys(prototypes)) Object.defineProperty(waiting, name, { get: () => bound(name) });
  return functions;
}

function native([name, { return: result, arguments: types }]: [string, Prototype]): [string, ffi.FunctionSignature] {
  return [name, { return: nativeType(result), arguments: types.map(nativeType) }];
}

function nativeType<T extends Type>(type: T): "pointer" | Exclude<T, "handle"> {
  return type === "handle" ? "pointer" : (type as Exclude<T, "handle">);
}

/** What a C function is, whose body is JavaScript. */
export interface CallbackPrototype<R extends Type, A extends readonly ArgumentType[]> {
  readonly return: R;
  readonly arguments: A;
}

export type CallbackBody<R extends Type, A extends readonly ArgumentType[]> = (...values: ValuesOf<A>) => Values[R];

export type { ArgumentType, Type, Values };

let callbacks: ffi.DynamicLibrary | undefined;

/**
 * Makes a C function, to be called by a library within one of its own calls, on this thread; returns its address. It lives as
 * long as the process: nobody knows who still has that. An exception in it ends the process, see openssl/callbacks.ts.
 */
export function registerCallback<R extends Type, A extends readonly ArgumentType[]>(
  prototype: CallbackPrototype<R, A>,
  run: CallbackBody<R, A>,
): bigint {
  callbacks ??= new ffi.DynamicLibrary(null);
  const types: ffi.FunctionSignature = {
    return: nativeType(prototype.return),
    arguments: prototype.arguments.map(nativeType),
  };
  const call: Call = run;
  return callbacks.registerCallback(types, (...values) => Reflect.apply(call, undefined, values));
}

/** The address of a function, to be called by others. */
export function functionAddress(name: string): bigint {
  const address = new ffi.DynamicLibrary(null).getSymbol(name);
  know(address, 1);
  return address;
}

/** A view of memory, which has to stay where it is for as long as the view can be reached. */
export function memoryAt(address: bigint, bytes: number): ArrayBuffer {
  know(address, bytes);
  return ffi.toArrayBuffer(address, bytes, false);
}

let text: { strlen(address: bigint): bigint } | undefined;

/** A copy of the text there, up to its NUL, as a byte string. Null where the address is. */
export function stringAt(address: bigint): string | null {
  if (address === 0n) return null;
  text ??= bind(null, { strlen: { return: "uint64", arguments: ["handle"] } });
  const length = Number(text.strlen(address));
  return length === 0 ? "" : Buffer.from(ffi.toArrayBuffer(address, length, false)).latin1Slice();
}

/** A byte string as C has it, with a NUL behind it. */
export function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`, "latin1");
}

/** This thread's uv_loop_t. */
export function uvLoopAddress(): bigint {
  return ffi.getCurrentEventLoop();
}

// ---- checks

/** Memory that pointers may lead to. Only filled where they are checked. */
const known = new Map<bigint, number>();

/** Memory of that address may be passed to functions. */
export function know(address: bigint, bytes: number): void {
  if (debugsFfi) known.set(address, Math.max(bytes, known.get(address) ?? 0));
}

/** It was unmapped. */
export function forget(address: bigint): void {
  known.delete(address);
}

function isKnown(address: bigint, bytes: number): boolean {
  for (const [from, length] of known) {
    if (address >= from && address + BigInt(bytes) <= from + BigInt(length)) return true;
  }
  return false;
}

type Call = (...values: never[]) => unknown;

function checked(name: string, prototype: Prototype, call: Call): Call {
  const types = prototype.arguments;
  return new Proxy(call, {
    apply(target, self, values: unknown[]) {
      if (values.length !== types.length) {
        throw new TypeError(`${name}() was called with ${values.length} arguments in place of ${types.length}`);
      }
      for (const [i, value] of values.entries()) {
        const size = prototype.sizes?.[i];
        const bytes = size === undefined ? 0 : Number(values[size]);
        const wrong = fault(types[i], value, bytes, prototype.nullable?.includes(i) === true);
        if (wrong !== undefined) throw new TypeError(`argument ${i} of ${name}() ${wrong}`);
      }
      return Reflect.apply(target, self, values);
    },
  });
}

const FITS = {
  int32: (value: unknown) => typeof value === "number" && (value | 0) === value,
  uint32: (value: unknown) => typeof value === "number" && value >>> 0 === value,
  int64: (value: unknown) => typeof value === "bigint" && BigInt.asIntN(64, value) === value,
  uint64: (value: unknown) => typeof value === "bigint" && BigInt.asUintN(64, value) === value,
  string: (value: unknown) => typeof value === "string" && !value.includes("\0"),
};

/** What is wrong with an argument of which the function uses so many bytes. */
function fault(type: ArgumentType, value: unknown, bytes: number, nullable: boolean): string | undefined {
  if (type === "buffer") {
    if (!(value instanceof Uint8Array)) return `is ${shown(value)}, and no buffer`;
    if (value.buffer instanceof ArrayBuffer && value.buffer.detached) return "is a buffer that was detached";
    return value.length < bytes ? `is a buffer of ${value.length} bytes, not of ${bytes}` : undefined;
  }
  if (type === "handle") {
    if (typeof value !== "bigint") return `is ${shown(value)}, and no handle`;
    return value === 0n && !nullable ? "is null" : undefined;
  }
  if (type === "pointer") {
    if (typeof value !== "bigint") return `is ${shown(value)}, and no pointer`;
    if (nullable && value === 0n) return undefined;
    return isKnown(value, bytes) ? undefined : `points to 0x${value.toString(16)}, where no ${bytes} bytes are known`;
  }
  return FITS[type](value) ? undefined : `is ${shown(value)}, and no ${type}`;
}

function shown(value: unknown): string {
  return typeof value === "object" || typeof value === "function" ? typeof value : String(value);
}
