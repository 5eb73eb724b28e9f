/** A function on the Node library that behaves as each path asks for; see peer.py. */
'use strict';

const { serve } = require('afterburn');

async function* lateFailure() {
  yield 'begun';
  throw new Error('too late');
}

const FIELDS = { value: ['X-Test', 'a\r\nInjected: 1'], name: ['X-Test: a\r\nInjected', '1'], wide: ['X-Test', 'ż'] };

const ROUTES = {
  '/echo': (request) => request.bytes(),
  '/stream': (request) => request.body,
  '/ignore': () => 'ignored',
  '/one': async (request) => {
    for await (const piece of request.body) return piece.subarray(0, 1);
  },
  '/describe': ({ method, path, query, headers }) => `${method} ${path} ${query} ${headers['x-test'] ?? ''}`,
  '/print': () => {
    for (let line = 0; line < 2000; line++) console.log('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad');
    process.stdout.write('and more');
    return 'printed';
  },
  '/raise': () => {
    throw new Error('on purpose');
  },
  '/raise-late': () => lateFailure(),
  '/swallow': (request) => request.text().catch(() => 'never mind'),
  '/header': ({ query }) => ({ headers: [FIELDS[query]], body: 'out' }),
  '/cookies': () => ({ headers: { 'Set-Cookie': ['a=1', 'b=2'] }, body: 'out' }),
  '/framing': () => ({ headers: { 'Content-Length': '7', 'Transfer-Encoding': 'gzip' }, body: 'out' }),
  '/status': ({ query }) => ({ status: Number(query), body: 'body' }),
  '/close': () => ({ headers: { Connection: 'close' }, body: 'bye' }),
  '/nothing': () => undefined,
};

serve((request) => ROUTES[request.path](request));
