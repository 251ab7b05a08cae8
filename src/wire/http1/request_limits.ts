/** What a server allows of a request's head. Sizes in bytes. */
export interface RequestLimits {
  /** client_header_buffer_size */
  readonly headerBufferSize: number;
  /** large_client_header_buffers */
  readonly largeBuffers: number;
  readonly largeBufferSize: number;
  /** max_headers */
  readonly maxHeaders: number;
  /** ignore_invalid_headers, underscores_in_headers */
  readonly ignoreInvalid: boolean;
  readonly underscores: boolean;
  /** allow_connect */
  readonly allowConnect: boolean;
}
