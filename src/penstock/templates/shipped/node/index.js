/**
 * Serves the function in function/handler.js over HTTP, on the loopback port that the watchdog names in PORT.
 *
 * The function is `async (event, context)`, as in the OpenFaaS templates node18 to node22, or `(event, context, callback)`; a
 * CommonJS module exports it, an ES module (package.json with "type": "module") has it as its default. What it returns, a
 * stream or an async iterable too, is the answer. An exception is logged and answered with 500.
 */
'use strict';

const http = require('node:http');
const path = require('node:path');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { pathToFileURL } = require('node:url');

const RAW_BODY = process.env.RAW_BODY === 'true';
const LIMITS = { json: bytes('MAX_JSON_SIZE'), raw: bytes('MAX_RAW_SIZE') };

/** The number of bytes in a variable such as `100kb`; 64 MiB when there is none. */
function bytes(variable) {
  const text = process.env[variable] || '64mb';
  const parts = /^(\d+(?:\.\d+)?)\s*(b|kb|mb|gb)?$/i.exec(text.trim());
  if (!parts) throw new Error(`${variable}: ${text} is no size; write it as 100kb or 5mb`);
  return Math.floor(parts[1] * 1024 ** ['b', 'kb', 'mb', 'gb'].indexOf((parts[2] || 'b').toLowerCase()));
}

/** An error that is the caller's. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** What a function is asked. */
class FunctionEvent {
  constructor(request, body) {
    const url = new URL(request.url, 'http://function');
    this.body = body;
    this.headers = request.headers;
    this.method = request.method;
    this.path = url.pathname;
    this.query = {};
    for (const name of new Set(url.searchParams.keys())) {
      const values = url.searchParams.getAll(name);
      Object.defineProperty(this.query, name, {
        value: values.length > 1 ? values : values[0],
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
  }
}

/** What a function answers with, beside what it returns; each setter gives the value back when it is called without one. */
class FunctionContext {
  constructor(settle) {
    this.statusCode = 200;
    this.headerValues = {};
    this.cbCalled = 0;
    this.settle = settle;
  }

  status(code) {
    if (code === undefined) return this.statusCode;
    this.statusCode = code;
    return this;
  }

  headers(values) {
    if (values === undefined) return this.headerValues;
    this.headerValues = values;
    return this;
  }

  succeed(value) {
    this.cbCalled++;
    this.settle(null, value);
  }

  fail(value) {
    this.cbCalled++;
    this.settle(value instanceof Error ? value : new Error(String(value)));
  }
}

async function bodyOf(request) {
  const kind = (request.headers['content-type'] || '').split(';')[0].trim().toLowerCase();
  const json = !RAW_BODY && /^application\/(.+\+)?json$/.test(kind);
  const most = json ? LIMITS.json : LIMITS.raw;
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > most) throw new Refused(413, `the body has more than ${most} bytes`);
    pieces.push(piece);
  }
  const whole = Buffer.concat(pieces);
  if (RAW_BODY) return whole;
  if (json) return parsed(whole.toString());
  if (kind === 'application/x-www-form-urlencoded') return formOf(whole.toString());
  return kind === '' || kind.startsWith('text/') ? whole.toString() : whole;
}

function parsed(text) {
  if (!text) return {};
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refused(400, `the body is not JSON: ${error.message}`);
  }
}

/** A form's fields; of the text itself when there are none, as `curl -d water` sends it. */
function formOf(text) {
  return text.includes('=') ? Object.fromEntries(new URLSearchParams(text)) : text;
}

/** The function's result, however it hands it over. */
function call(handler, event, context, outcome) {
  const result = handler(event, context, (error, value) => (error ? context.fail(error) : context.succeed(value)));
  if (handler.length > 2 && result === undefined) return outcome; // it will call back
  return Promise.race([outcome, Promise.resolve(result).then((value) => (context.cbCalled ? outcome : value))]);
}

async function answer(handler, request, response) {
  let settle;
  const outcome = new Promise((resolve, reject) => {
    settle = (error, value) => (error ? reject(error) : resolve(value));
  });
  outcome.catch(() => {}); // it is awaited below, perhaps after it has failed
  const context = new FunctionContext(settle);
  try {
    const event = new FunctionEvent(request, await bodyOf(request));
    await send(request, response, context, await call(handler, event, context, outcome));
  } catch (error) {
    refuse(response, context, error);
  }
}

async function send(request, response, context, value) {
  response.statusCode = context.statusCode;
  for (const [name, field] of Object.entries(context.headerValues)) response.setHeader(name, field);
  const streamed = value !== null && typeof value === 'object' && Symbol.asyncIterator in value;
  const plain = streamed || value === undefined || value === null || typeof value === 'string' || value instanceof Uint8Array;
  const json = !plain && typeof value === 'object';
  if (!response.hasHeader('content-type')) {
    response.setHeader('Content-Type', json ? 'application/json' : value instanceof Uint8Array || streamed
      ? 'application/octet-stream' : 'text/plain; charset=utf-8');
  }
  if (streamed) return pipeline(Readable.from(value), response);
  const body = value === undefined || value === null ? '' : json ? JSON.stringify(value) : plain ? value : String(value);
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.end(body);
}

function refuse(response, context, error) {
  if (!(error instanceof Refused)) console.error(error);
  if (response.headersSent) return response.destroy(); // half an answer must not look like a whole one
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  response.statusCode = error?.status ?? (context.statusCode >= 400 ? context.statusCode : 500);
  if (error instanceof Refused) response.setHeader('Connection', 'close');
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`${error?.message ?? error}\n`);
}

async function main() {
  const file = path.join(__dirname, 'function', 'handler.js');
  const exported = (await import(pathToFileURL(file))).default;
  const handler = exported?.default ?? exported;
  if (typeof handler !== 'function') throw new Error(`${file} exports no function: module.exports = async (event, context) => …`);
  const server = http.createServer({ requestTimeout: 0 }, (request, response) => answer(handler, request, response));
  process.on('SIGTERM', () => {
    server.close();
    server.closeIdleConnections?.();
  });
  server.listen(Number(process.env.PORT || 3000), '127.0.0.1');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
