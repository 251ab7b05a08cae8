import type { RequestLimits } from "../../../src/wire/http1/request_fields.ts";

/** nginx's defaults. */
export const LIMITS: RequestLimits = {
  headerBufferSize: 1024,
  largeBuffers: 4,
  largeBufferSize: 8192,
  maxHeaders: 1000,
  ignoreInvalid: true,
  underscores: false,
  allowConnect: false,
};
