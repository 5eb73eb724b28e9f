'use strict';

const { Readable } = require('node:stream');

async function* half() {
  yield 'a'.repeat(100000);
  throw new Error('half');
}

/** Does what its path says. */
module.exports = (event, context, callback) => {
  switch (event.path) {
    case '/raise': throw new Error('broken');
    case '/reject': return Promise.reject(new Error('rejected'));
    case '/late': return void setTimeout(() => callback(null, 'late'), 10);
    case '/error': return callback(new Error('called back'));
    case '/fail': return context.status(418).fail('teapot');
    case '/inject': return callback(null, context.headers({ a: 'b\r\nc: d' }) && 'x');
    case '/status': return callback(null, context.status('abc') && 'x');
    case '/cookies': return callback(null, context.status(201).headers({ 'set-cookie': ['a=1', 'b=2'] }) && 'x');
    case '/event': return callback(null, { ...event, headers: event.headers['x-one'] });
    case '/bytes': return callback(null, event.body);
    case '/stream': return callback(null, Readable.from(['a', 'b']));
    case '/half': return callback(null, half());
    case '/number': return callback(null, 7);
    case '/none': return callback();
    case '/succeed': return context.succeed('done');
    case '/type': return callback(null, `${typeof event.body} ${JSON.stringify(event.body)}`);
    default: return Promise.resolve({ returned: true }).then((value) => callback(null, value));
  }
};
