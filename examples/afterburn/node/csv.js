/**
 * CSV in, one JSON object a line out, row by row while the upload is still going on: a table of any size needs no memory.
 * The first row holds the names. Fields may be quoted, and then hold commas, line breaks and doubled quotes (RFC 4180).
 */
'use strict';

const { serve } = require('./afterburn');

class Table {
  #names = null;
  #row = [];
  #field = '';
  #quoted = false;
  #text = '';

  /** The JSON lines of the rows that end in this piece of text. `end` says that it is the last one. */
  lines(text, end = false) {
    const lines = [];
    // A quote's meaning depends on the next character, so the last one waits for the next piece.
    this.#text += text;
    const until = this.#text.length - (end ? 0 : 1);
    let at = 0;
    for (; at < until; at++) {
      const sign = this.#text[at];
      if (this.#quoted && sign === '"' && this.#text[at + 1] === '"') this.#field += this.#text[at++];
      else if (sign === '"') this.#quoted = !this.#quoted;
      else if (this.#quoted) this.#field += sign;
      else if (sign === ',') this.#endField();
      else if (sign === '\n') lines.push(this.#endRow());
      else if (sign !== '\r') this.#field += sign;
    }
    this.#text = this.#text.slice(at);
    if (end && this.#quoted) throw new Error('a quote that is not closed');
    if (end && (this.#row.length || this.#field)) lines.push(this.#endRow());
    return lines.join('');
  }

  #endField() {
    this.#row.push(this.#field);
    this.#field = '';
  }

  #endRow() {
    this.#endField();
    const row = this.#row;
    this.#row = [];
    if (this.#names === null) {
      this.#names = row;
      return '';
    }
    return JSON.stringify(Object.fromEntries(this.#names.map((name, at) => [name, row[at] ?? '']))) + '\n';
  }
}

async function* objects(body) {
  const table = new Table();
  const decoder = new TextDecoder();
  for await (const piece of body) yield table.lines(decoder.decode(piece, { stream: true }));
  yield table.lines(decoder.decode(), true);
}

serve((request) => ({ headers: { 'Content-Type': 'application/x-ndjson' }, body: objects(request.body) }));
