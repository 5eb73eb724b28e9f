'use strict';

const assert = require('node:assert');
const { test } = require('node:test');
const handler = require('./handler');

/** What the function answers when it is called like this. */
function call(body, query = {}) {
  return new Promise((resolve, reject) => {
    const context = { status: () => context, headers: () => context, succeed: resolve, fail: reject };
    handler({ body, query, headers: {}, method: 'POST', path: '/' }, context).catch(reject);
  });
}

test('greets whom the body names', async () => assert.strictEqual(await call('Ada\n'), 'Hello, Ada!\n'));
test('greets the world when nobody is named', async () => assert.strictEqual(await call(''), 'Hello, world!\n'));
