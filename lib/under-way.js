// What is under way on terminators' servers, in words, for the line that says what a shutdown did not wait for.

const { activeSockets, httpSockets, responseOn } = require('./internals');
const { hasReceived } = require('./received');
const { answeredEarlyOn, requestsOn } = require('./requests');
const { attachmentsOf } = require('./terminator');

/** @typedef {import('./attachment').Attachment} Attachment */
/** @typedef {import('./connection').Head} Head */
/** @typedef {{ method?: string | null | undefined, url?: string | null | undefined }} Request */

/** How many requests are named. The rest is only counted. */
const NAMED_AT_MOST = 10;

/** A URL may be as long as a head, and the line should not be. */
const URL_LENGTH_AT_MOST = 200;

/**
 * @param {readonly object[]} terminators
 * @returns {string[]} requests first, then tasks
 */
function underWay(terminators) {
  // Several terminators of one server share its attachment.
  const attachments = [...new Set(terminators.flatMap(attachmentsOf))];
  const heads = attachments.flatMap((attachment) => [...headsOn(attachment)]);
  const halves = attachments.reduce((sum, attachment) => sum + halfReceivedOn(attachment), 0);
  const tasks = attachments.reduce((sum, attachment) => sum + attachment.tasks, 0);
  return [...describeRequests(heads), ...count(halves, 'half-received request'), ...count(tasks, 'task')];
}

/**
 * What a termination did not wait for.
 *
 * @param {Partial<import('../index').TerminationReport>} report others than ours may leave everything out
 * @returns {string[]}
 */
function describeReport({ connections, cut = [], cutOmitted = 0, tasks }) {
  const described = [...describeRequests(cut, cutOmitted), ...count(tasks?.abandoned ?? 0, 'task')];
  return described.length > 0 ? described : count(connections?.forced ?? 0, 'connection');
}

/**
 * @param {readonly Request[]} heads
 * @param {number} [omitted] how many more there are
 * @returns {string[]}
 */
function describeRequests(heads, omitted = 0) {
  const named = heads.slice(0, NAMED_AT_MOST).map(describeRequest);
  return [...named, ...count(heads.length + omitted - named.length, 'further request')];
}

/** @param {Request} head */
function describeRequest({ method, url }) {
  if (!method) return 'a half-received request';
  const shown = url && url.length > URL_LENGTH_AT_MOST ? `${url.slice(0, URL_LENGTH_AT_MOST)}...` : (url ?? '');
  // Whatever was received, it begins no line of its own and does not speak to the terminal.
  return `${method} ${shown}`.replace(/[^\x20-\x7e]/g, '?');
}

/**
 * @param {Attachment} attachment
 * @returns {Generator<Head>}
 */
function* headsOn({ connections, open, server }) {
  for (const connection of open) {
    if (connection.hijackedBy !== null) {
      yield connection.hijackedBy;
      continue;
    }
    const streams = connection.streams?.values() ?? [];
    for (const { head } of [...requestsOn(connection.socket), ...streams]) yield head;
  }
  // While the server is serving, most connections are not followed.
  for (const socket of httpSockets(server)) {
    if (socket.destroyed || connections.has(socket)) continue;
    for (const { head } of requestsOn(socket)) yield head;
  }
}

/**
 * On how many connections a part of a request has come that says nothing of itself yet.
 *
 * @param {Attachment} attachment
 */
function halfReceivedOn({ server }) {
  const sockets = [...(activeSockets(server) ?? [])];
  // What is left of a request that was answered early has been named by its answer.
  return sockets.filter((socket) => hasReceived(socket) && !responseOn(socket) && answeredEarlyOn(socket) === null)
    .length;
}

/**
 * @param {number} number
 * @param {string} what
 */
function count(number, what) {
  return number === 0 ? [] : [`${number} ${what}${number === 1 ? '' : 's'}`];
}

module.exports = { describeReport, underWay };
