/**
 * Answers HTTP/1.1 requests on stdin and stdout: the function's side of Penstock's watchdog mode `afterburn`.
 *
 * One file to copy, without packages, for Node 18 or later. `serve(handler)` answers one request after another until stdin
 * ends; what the console prints goes to stderr, because a byte on stdout that is no response costs the process its life.
 * The protocol is described in docs/reference/afterburn-protocol.md.
 *
 *     const { serve } = require('./afterburn');
 *
 *     serve(async (request) => ({ status: 200, body: 'hello ' + (await request.text()) }));
 */
'use strict';

const { STATUS_CODES } = require('node:http');

/** Bytes of a request's head, and of the trailers behind a chunked body; more is answered with 431. */
const MAX_HEAD = 64 * 1024;

/** Bytes of a chunk's size and extensions, more than the watchdog lets through: what it accepts must not cost a process. */
const MAX_CHUNK_LINE = 8192;

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([\\x21-\\x7e]+) HTTP/1\\.1$`);
const FIELD_NAME = new RegExp(`^${TOKEN}$`);
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const CHUNK_LINE = /^([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/;
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection']);

/** A request that is not one. After it nothing on stdin can be trusted, so the process ends. */
class BadRequest extends Error {
  constructor(reason, status = 400) {
    super(reason);
    this.status = status;
  }
}

/** stdin ended inside a request: whoever waited for the answer is gone. */
class RequestEnded extends Error {
  constructor() {
    super('stdin ended inside a request');
  }
}

/** stdout is gone, and with it whoever waited for the answer. */
class Unwritable extends Error {}

/** Bytes of stdin, by lines and by pieces. */
class Input {
  #stream;
  #held = Buffer.alloc(0);
  #ended = false;
  #wake = () => {};

  constructor(stream) {
    this.#stream = stream;
    stream.on('readable', () => this.#wake());
    for (const end of ['end', 'close', 'error']) {
      stream.on(end, () => {
        this.#ended = true;
        this.#wake();
      });
    }
  }

  /** Whether there are bytes; what has arrived is taken from the stream for it. */
  ready() {
    if (this.#held.length === 0) this.#held = this.#stream.read() ?? this.#held;
    return this.#held.length > 0;
  }

  /** Wait until there are bytes; false at the end, or when `stop()` says that none are wanted any more. */
  async wait(stop = () => false) {
    while (!this.ready()) {
      if (this.#ended || stop()) return false;
      await new Promise((resolve) => (this.#wake = resolve));
    }
    return true;
  }

  /** End a wait, so that it asks its `stop()` again. */
  wake() {
    this.#wake();
  }

  /** What is there, up to `most` bytes. Throws RequestEnded at the end. */
  async piece(most) {
    if (!(await this.wait())) throw new RequestEnded();
    const piece = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(piece.length);
    return piece;
  }

  /** A line without its CRLF. Throws BadRequest with `status` when it is longer than `most`. */
  async line(most, status = 400) {
    if (!(await this.wait())) throw new RequestEnded();
    let end;
    while ((end = this.#held.indexOf(10)) < 0 && this.#held.length < most) {
      const begun = this.#held;
      this.#held = Buffer.alloc(0);
      if (!(await this.wait())) throw new RequestEnded();
      this.#held = Buffer.concat([begun, this.#held]);
    }
    if (end < 0 || end >= most) {
      throw new BadRequest(`more than ${status === 431 ? MAX_HEAD : most} bytes of head or line`, status);
    }
    const line = this.#held.latin1Slice(0, end);
    if (line.indexOf('\r') !== end - 1) throw new BadRequest('a line that does not end in CRLF');
    this.#held = this.#held.subarray(end + 1);
    return line.slice(0, -1);
  }

  /** Lines up to an empty one, which is taken but not given; at most MAX_HEAD bytes of them. */
  async lines() {
    const lines = [];
    let left = MAX_HEAD;
    for (let line; (line = await this.line(left, 431)) !== ''; left -= line.length + 2) lines.push(line);
    return lines;
  }
}

/** A request's body, read from stdin when it is asked for. Iterating gives Buffers as they arrive. */
class Body {
  #pieces;
  fault = null;

  constructor(pieces) {
    this.#pieces = pieces;
  }

  async *[Symbol.asyncIterator]() {
    for (let piece; (piece = await this.#piece()) !== null; ) yield piece;
  }

  async #piece() {
    if (this.fault) throw this.fault; // a generator that has thrown would look like one that has ended
    try {
      const { done, value } = await this.#pieces.next();
      return done ? null : value;
    } catch (fault) {
      this.fault = fault;
      throw fault;
    }
  }
}

/** One request. `target` is as it was sent; names in `headers` are in lower case; `body` is an async iterable of Buffers. */
class Request {
  constructor(method, target, headers, body) {
    const mark = target.indexOf('?');
    this.method = method;
    this.target = target;
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? '' : target.slice(mark + 1);
    this.headers = headers;
    this.body = body;
  }

  /** The whole body. */
  async bytes() {
    const pieces = [];
    for await (const piece of this.body) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /** The whole body as UTF-8. */
  async text() {
    return (await this.bytes()).toString('utf8');
  }

  async json() {
    return JSON.parse(await this.text());
  }
}

/** Reads each request to its end and has it answered. */
class Server {
  #handler;
  #input;
  #write;
  #stopping = false;
  #begun = false;

  constructor(handler, input, write) {
    this.#handler = handler;
    this.#input = input;
    this.#write = write;
  }

  /** SIGTERM: the end when no request is there, otherwise after it. */
  stop() {
    this.#stopping = true;
    this.#input.wake();
  }

  /** Answer requests until there are no more. Throws where nothing that follows could be understood. */
  async run() {
    while ((await this.#input.wait(() => this.#stopping)) && (await this.#exchange()));
  }

  async #exchange() {
    this.#begun = false;
    try {
      return await this.#answer(await this.#read());
    } catch (fault) {
      if (fault instanceof BadRequest && !this.#begun) {
        await this.#send(head(fault.status, [['Connection', 'close'], ['Content-Length', '0']]));
      }
      throw fault;
    }
  }

  async #read() {
    const [first, ...lines] = await this.#input.lines();
    const found = REQUEST_LINE.exec(first ?? '');
    if (!found) throw new BadRequest('the request line is not METHOD TARGET HTTP/1.1');
    const fields = lines.map(field);
    const headers = Object.create(null); // __proto__ is a name like any other
    for (const [name, value] of fields) headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    if (!('host' in headers)) throw new BadRequest('a request without a Host field');
    return new Request(found[1], found[2], headers, new Body(pieces(this.#input, fields)));
  }

  async #answer(request) {
    if (request.method === 'OPTIONS' && request.target === '*') return this.#respond(request, '');
    try {
      return await this.#respond(request, await this.#handler(request));
    } catch (failure) {
      if (failure instanceof Unwritable) throw failure;
      if (request.body.fault) throw request.body.fault; // whatever a parser has wrapped around it
      console.error(failure);
      if (this.#begun) throw new Error('the answer broke off'); // it must not look complete
      return this.#respond(request, { status: 500, body: 'Internal Server Error\n' });
    }
  }

  async #respond(request, response) {
    const { status, fields, content } = parts(response);
    const close = this.#stopping || request.body.fault !== null || asksToClose(fields);
    const begin = head(status, framed(request.method, status, fields, content, close));
    let end = begin;
    if (request.method === 'HEAD' || status === 204 || status === 304) await dismiss(content);
    else if (Buffer.isBuffer(content)) end = Buffer.concat([begin, content]);
    else end = await this.#stream(begin, content);
    // No response is complete before its request, unless this process ends with it.
    if (!close) for await (const _ of request.body);
    await this.#send(end);
    return !close;
  }

  /**
   * Send all chunks but the last, which is returned with what has not been sent. The head waits for the first chunk, so that an
   * exception before it can still become a 500.
   */
  async #stream(begin, content) {
    for await (const piece of content) {
      const data = buffer(piece);
      if (data.length === 0) continue; // an empty chunk would be the last one
      await this.#send(Buffer.concat([begin, Buffer.from(data.length.toString(16) + '\r\n'), data, Buffer.from('\r\n')]));
      begin = Buffer.alloc(0);
    }
    return Buffer.concat([begin, Buffer.from('0\r\n\r\n')]);
  }

  /** Write, and wait until it is written: whoever makes an answer is no faster than whoever takes it. */
  async #send(data) {
    this.#begun = true;
    await new Promise((resolve, reject) => {
      this.#write(data, (error) => (error ? reject(new Unwritable(`stdout: ${error.message}`)) : resolve()));
    });
  }
}

/** Name and value of one line of a head. No space before the colon and no folded lines: RFC 9112 sections 5.1 and 5.2. */
function field(line) {
  const colon = line.indexOf(':');
  const name = colon < 0 ? '' : line.slice(0, colon);
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
  if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) {
    throw new BadRequest(`not a header field: ${JSON.stringify(line.slice(0, 80))}`);
  }
  return [name.toLowerCase(), value];
}

/** How the body is framed (RFC 9112 section 6.3), and its pieces. */
function pieces(input, fields) {
  const all = (wanted) => fields.filter(([name]) => name === wanted).map(([, value]) => value);
  const lengths = all('content-length');
  const codings = all('transfer-encoding');
  if (codings.length && lengths.length) throw new BadRequest('both Content-Length and Transfer-Encoding');
  if (codings.length) {
    if (codings.length > 1 || codings[0].toLowerCase() !== 'chunked') {
      throw new BadRequest(`a transfer coding other than chunked: ${JSON.stringify(codings)}`, 501);
    }
    return chunks(input);
  }
  if (new Set(lengths).size > 1 || !lengths.every((length) => /^[0-9]{1,19}$/.test(length))) {
    throw new BadRequest(`not a length: ${JSON.stringify(lengths)}`);
  }
  return counted(input, Number(lengths[0] ?? 0));
}

async function* counted(input, left) {
  while (left > 0) {
    const piece = await input.piece(left);
    left -= piece.length;
    yield piece;
  }
}

async function* chunks(input) {
  for (let size; (size = await chunkSize(input)) > 0; ) {
    yield* counted(input, size);
    if (await input.line(2)) throw new BadRequest('a chunk that is longer than its size');
  }
  (await input.lines()).forEach(field); // trailers, RFC 9112 section 7.1.2
}

async function chunkSize(input) {
  const line = await input.line(MAX_CHUNK_LINE);
  const found = CHUNK_LINE.exec(line);
  const size = found ? parseInt(found[1], 16) : NaN;
  if (!Number.isSafeInteger(size)) throw new BadRequest(`not the size of a chunk: ${JSON.stringify(line.slice(0, 80))}`);
  return size;
}

/** Status, fields and content of whatever a handler has returned. Throws TypeError and RangeError. */
function parts(response) {
  const bare = typeof response !== 'object' || response === null || isIterable(response);
  const { status = 200, headers = {}, body = '' } = bare ? { body: response ?? null } : response;
  if (!Number.isInteger(status) || status < 200 || status > 599) throw new RangeError(`not a final status: ${status}`);
  const fields = isIterable(headers) ? [...headers] : Object.entries(headers);
  const typed = fields.some(([name]) => name.toLowerCase() === 'content-type');
  if (typeof body === 'string' && body && !typed) fields.push(['Content-Type', 'text/plain; charset=utf-8']);
  return { status, fields, content: isIterable(body) && !(body instanceof Uint8Array) ? body : buffer(body) };
}

function isIterable(value) {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value);
}

function buffer(piece) {
  if (Buffer.isBuffer(piece)) return piece;
  if (typeof piece === 'string' || piece instanceof Uint8Array) return Buffer.from(piece);
  throw new TypeError(`a response is made of text or bytes, not ${piece === null ? 'null' : typeof piece}`);
}

/** Close a source of content that is not to be read: a generator or a stream. */
async function dismiss(content) {
  if (Buffer.isBuffer(content)) return;
  if (typeof content.destroy === 'function') content.destroy();
  else await content.return?.();
}

function asksToClose(fields) {
  return fields.some(([name, value]) => name.toLowerCase() === 'connection' && String(value).toLowerCase() === 'close');
}

/** The handler's fields, with the framing that the content needs in place of any that they name. */
function framed(method, status, fields, content, close) {
  const kept = fields.filter(([name]) => !FRAMING.has(name.toLowerCase()));
  const told = fields.find(([name]) => name.toLowerCase() === 'content-length');
  if (close) kept.push(['Connection', 'close']);
  if (status === 204 || status === 304) return kept;
  if (method === 'HEAD' && told) return [...kept, told]; // a handler may know the length without having the content
  if (Buffer.isBuffer(content)) return [...kept, ['Content-Length', String(content.length)]];
  return [...kept, ['Transfer-Encoding', 'chunked']];
}

/** Status line and fields. Throws TypeError for a field that would break out of its line. */
function head(status, fields) {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`];
  for (const [name, given] of fields) {
    for (const value of Array.isArray(given) ? given : [given]) {
      if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) {
        throw new TypeError(`not a header field: ${JSON.stringify(`${name}: ${value}`)}`);
      }
      lines.push(`${name}: ${value}`);
    }
  }
  return Buffer.from(lines.join('\r\n') + '\r\n\r\n', 'latin1');
}

/** Send everything that is printed to stderr; the function that writes answers from now on. */
function protectStdout() {
  const answers = process.stdout;
  const write = answers.write.bind(answers);
  answers.write = process.stderr.write.bind(process.stderr);
  answers.on('error', () => {}); // whoever writes is told
  return write;
}

/**
 * Answer requests with what `handler(request)` returns or resolves to, until stdin ends or SIGTERM arrives between two of
 * them; then exit. A response is text or bytes, an iterable of them that is sent chunk by chunk, or {status, headers, body}
 * with one of these as body. An exception is answered with 500 and written to stderr.
 */
function serve(handler) {
  const server = new Server(handler, new Input(process.stdin), protectStdout());
  process.on('SIGTERM', () => server.stop());
  server.run().then(
    () => process.exit(0),
    (fault) => {
      console.error(`afterburn: ${fault.message}`);
      process.exit(1);
    },
  );
}

module.exports = { serve, BadRequest, RequestEnded };
