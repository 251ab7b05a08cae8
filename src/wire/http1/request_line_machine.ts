import {
  AGAIN,
  BAD,
  COMPLEX,
  CR,
  DOT,
  EMPTY_PATH,
  ENDS,
  HASH,
  HOST_CHAR,
  INVALID_09_METHOD,
  INVALID_METHOD,
  INVALID_REQUEST,
  INVALID_VERSION,
  LF,
  LINE,
  METHOD_CHAR,
  PERCENT,
  PLAIN,
  QUESTION,
  QUOTED,
  type RequestLine,
  SLASH,
  SPACE,
  START,
  spells,
  TARGET,
} from "./request_line.ts";

const METHOD = 1;
const SPACES_BEFORE_URI = 2;
const SCHEME = 3;
const SCHEME_SLASH = 4;
const SCHEME_SLASH_SLASH = 5;
const SPACES_BEFORE_HOST = 6;
const HOST_START = 7;
const HOST = 8;
const HOST_END = 9;
const IP_LITERAL = 10;
const PORT_START = 11;
const PORT = 12;
const AFTER_SLASH = 13;
const CHECK_URI = 14;
const URI = 15;
const AFTER_URI = 16;
const PROTOCOL = 17;
const MAJOR_START = 18;
const MAJOR = 19;
const MINOR_START = 20;
const MINOR = 21;
const SPACES_AFTER = 22;
const ALMOST_DONE = 23;

/** Reads on in any state, byte by byte. */
export function resume(line: RequestLine, bytes: Uint8Array, from: number, end: number): number {
  for (let p = from; p < end; p++) {
    const byte = bytes[p];
    switch (line.state) {
      case START:
        if (byte === CR || byte === LF) continue;
        line.clear();
        line.start = p;
        if (METHOD_CHAR[byte] === 0) return INVALID_METHOD;
        line.state = METHOD;
        continue;

      case METHOD:
        if (METHOD_CHAR[byte] === 1) continue;
        if (byte !== SPACE) return INVALID_METHOD;
        line.methodEnd = p;
        line.connect = spells(bytes, line.start, p, "CONNECT");
        line.get = spells(bytes, line.start, p, "GET");
        line.state = line.connect ? SPACES_BEFORE_HOST : SPACES_BEFORE_URI;
        continue;

      case SPACES_BEFORE_URI:
        if (byte === 0x2f) {
          line.uriStart = p;
          line.state = AFTER_SLASH;
        } else if (isLetter(byte)) {
          line.schemeStart = p;
          line.state = SCHEME;
        } else if (byte !== SPACE) return INVALID_REQUEST;
        continue;

      case SCHEME:
        if (isLetter(byte) || isDigit(byte) || byte === 0x2b || byte === 0x2d || byte === 0x2e) continue;
        if (byte !== 0x3a) return INVALID_REQUEST;
        line.schemeEnd = p;
        line.state = SCHEME_SLASH;
        continue;

      case SCHEME_SLASH:
      case SCHEME_SLASH_SLASH:
        if (byte !== 0x2f) return INVALID_REQUEST;
        line.state = line.state === SCHEME_SLASH ? SCHEME_SLASH_SLASH : HOST_START;
        continue;

      case SPACES_BEFORE_HOST:
      case HOST_START:
      case HOST:
      case HOST_END:
        if (!inHost(line, byte, p)) return INVALID_REQUEST;
        continue;

      case IP_LITERAL:
        if (HOST_CHAR[byte] !== 0) continue;
        if (byte !== 0x5d) return INVALID_REQUEST;
        line.state = HOST_END;
        continue;

      case PORT_START:
      case PORT:
        if (!inPort(line, byte, p)) return INVALID_REQUEST;
        continue;

      case AFTER_SLASH:
      case CHECK_URI:
      case URI: {
        const kind = TARGET[byte];
        if (kind === PLAIN) {
          if (line.state === AFTER_SLASH) line.state = CHECK_URI;
          continue;
        }
        if (kind === BAD) return INVALID_REQUEST;
        if (kind === ENDS) {
          line.uriEnd = p;
          if (byte === SPACE) {
            line.state = AFTER_URI;
            continue;
          }
          if (byte === LF) return done(line, p);
          line.end = p;
          line.state = ALMOST_DONE;
          continue;
        }
        inTarget(line, kind, p);
        continue;
      }

      case AFTER_URI:
        if (byte === SPACE) continue;
        if (byte === LF) return done(line, p);
        if (byte === CR) {
          line.end = p;
          line.state = ALMOST_DONE;
        } else if (byte === 0x48) {
          line.protocolStart = p;
          line.state = PROTOCOL;
        } else return INVALID_REQUEST;
        continue;

      case PROTOCOL: {
        const at = p - line.protocolStart;
        if (byte !== (at === 1 || at === 2 ? 0x54 : at === 3 ? 0x50 : 0x2f)) return INVALID_REQUEST;
        if (at < 4) continue;
        if (line.connect) {
          // As in nginx this slash is the path of a CONNECT request.
          line.uriStart = p;
          line.uriEnd = p + 1;
        }
        line.state = MAJOR_START;
        continue;
      }

      case MAJOR_START:
        if (byte < 0x31 || byte > 0x39) return INVALID_REQUEST;
        line.major = byte - 0x30;
        if (line.major > 1) return INVALID_VERSION;
        line.state = MAJOR;
        continue;

      case MAJOR:
        if (byte === 0x2e) {
          line.state = MINOR_START;
          continue;
        }
        // A second digit makes the number at least 10.
        return isDigit(byte) ? INVALID_VERSION : INVALID_REQUEST;

      case MINOR_START:
        if (!isDigit(byte)) return INVALID_REQUEST;
        line.minor = byte - 0x30;
        line.state = MINOR;
        continue;

      case MINOR:
      case SPACES_AFTER:
        if (line.state === MINOR && isDigit(byte)) {
          if (line.minor > 99) return INVALID_REQUEST;
          line.minor = line.minor * 10 + (byte - 0x30);
        } else if (byte === LF) return done(line, p);
        else if (byte === CR) {
          line.end = p;
          line.state = ALMOST_DONE;
        } else if (byte === SPACE) line.state = SPACES_AFTER;
        else return INVALID_REQUEST;
        continue;

      default:
        if (byte !== LF) return INVALID_REQUEST;
        return done(line, p);
    }
  }
  line.pos = end;
  return AGAIN;
}

function inTarget(line: RequestLine, kind: number, p: number): void {
  if (kind === HASH) {
    line.complex |= COMPLEX;
    line.state = URI;
    return;
  }
  if (line.state === URI) return;
  switch (kind) {
    case SLASH:
    case DOT:
      if (line.state === AFTER_SLASH) {
        line.complex |= COMPLEX;
        line.state = URI;
      } else if (kind === DOT) line.extStart = p + 1;
      else {
        line.extStart = -1;
        line.state = AFTER_SLASH;
      }
      return;
    case PERCENT:
      line.complex |= QUOTED;
      line.state = URI;
      return;
    case QUESTION:
      line.argsStart = p + 1;
      line.state = URI;
      return;
    default:
      line.plus = true;
  }
}

function inHost(line: RequestLine, byte: number, p: number): boolean {
  if (line.state === SPACES_BEFORE_HOST && byte === SPACE) return true;
  if (line.state === SPACES_BEFORE_HOST || line.state === HOST_START) {
    line.hostStart = p;
    line.state = byte === 0x5b ? IP_LITERAL : HOST;
    if (byte === 0x5b) return true;
  }
  if (line.state === HOST && (HOST_CHAR[byte] & 1) !== 0) return true;
  if (byte === 0x3a) {
    line.state = PORT_START;
    return true;
  }
  // CONNECT needs a port.
  return !line.connect && endAuthority(line, byte, p);
}

function inPort(line: RequestLine, byte: number, p: number): boolean {
  if (isDigit(byte)) {
    line.state = PORT;
    return true;
  }
  if (!line.connect) return endAuthority(line, byte, p);
  if (line.state === PORT_START || byte !== SPACE) return false;
  line.hostEnd = p;
  line.state = AFTER_URI;
  return true;
}

/** Handles the byte after the authority of an absolute target; false if it is not allowed there. */
function endAuthority(line: RequestLine, byte: number, p: number): boolean {
  line.hostEnd = p;
  switch (byte) {
    case 0x2f:
      line.uriStart = p;
      line.state = AFTER_SLASH;
      return true;
    case 0x3f:
      line.uriStart = p;
      line.argsStart = p + 1;
      line.complex |= EMPTY_PATH;
      line.state = URI;
      return true;
    case SPACE:
      // Without a path, one of the scheme's slashes is the path.
      line.uriStart = line.schemeEnd + 1;
      line.uriEnd = line.schemeEnd + 2;
      line.state = AFTER_URI;
      return true;
    default:
      return false;
  }
}

function done(line: RequestLine, p: number): number {
  if (line.end < 0) line.end = p;
  line.pos = p + 1;
  line.version = line.major * 1000 + line.minor;
  line.state = START;
  return line.version === 9 && !line.get ? INVALID_09_METHOD : LINE;
}

function isLetter(byte: number): boolean {
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x7a;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
