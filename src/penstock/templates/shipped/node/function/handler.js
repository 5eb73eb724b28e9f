'use strict';

/** Greets whoever the body or the query `name` names. */
module.exports = async (event, context) => {
  const name = String(event.body || '').trim() || event.query.name || 'world';
  return context.status(200).headers({ 'Content-Type': 'text/plain; charset=utf-8' }).succeed(`Hello, ${name}!\n`);
};
