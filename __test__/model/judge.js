// Says what is wrong with what happened in a script. It knows nothing of how a termination works: only what was
// written and received, when handlers were called, and what the report says.

const { answerTo, FAR } = require('./script');

/** By how much a termination may be late on a busy machine. */
const SLACK_MS = 5_000;

/** How many bytes Node reads from a socket in one go, if it has so many. */
const READ_AT_ONCE = 65_536;

/** @returns {string[]} */
function judge(director) {
  const judgement = new Judgement(director);
  judgement.report();
  for (const client of director.clients) {
    if (client.session !== undefined) judgement.http2(client);
    else if (client.ended !== undefined) judgement.http1(client);
  }
  judgement.half();
  judgement.remains();
  return judgement.wrong;
}

class Judgement {
  /** @type {string[]} */
  wrong = [];
  /** Clients that have lost a request of which the server had read no more than a part. */
  #halved = new Set();

  constructor(director) {
    this.director = director;
    const { report } = director;
    this.listed = new Set(report.cut.map(({ url }) => url));
    /** Half requests, of which no more is known than their number. */
    this.halves = report.cut.filter(({ url }) => url === null).length;
    const { timeout, delay } = director.script;
    this.reachedDeadline = report.durationMs >= timeout + delay;
  }

  /** The report agrees with the server's own account, and with itself. */
  report() {
    const { report, script, requests, terminatedAt, resolvedAt, accepted } = this.director;
    const { timeout, delay, tasks } = script;
    if (report.durationMs > timeout + delay + SLACK_MS) this.#wrong(`it took ${report.durationMs} ms`);
    if (timeout === FAR && this.reachedDeadline) this.#wrong('it waited for its deadline');

    const finished = [...requests].filter(([, { finishedAt }]) => finishedAt > terminatedAt && finishedAt < resolvedAt);
    const whole = finished.filter(([url]) => !this.listed.has(url));
    const late = whole.filter(([, { startedAt }]) => startedAt > terminatedAt).length;
    // Whether a stream was answered before its client went away, nobody knows for certain.
    if (!this.director.clients.some(({ session, leftAt }) => session && leftAt !== null)) {
      this.#same('requests.completed', report.requests.completed, whole.length - late);
      this.#same('requests.late', report.requests.late, late);
    }

    const open = accepted.filter(({ closedAt }) => closedAt === null || closedAt > terminatedAt).length;
    const { idle, drained, forced } = report.connections;
    // Node's own list may still show one whose client has just gone.
    const going = accepted.filter(({ closedAt }) => closedAt !== null && closedAt < terminatedAt).length;
    const counted = idle + drained + forced;
    if (counted < open || counted > open + going) this.#wrong(`${counted} connections, and not ${open}`);
    if (timeout === FAR && forced > 0) this.#wrong(`${forced} connections were forced`);

    const switched = report.cut.filter(({ url }) => url?.endsWith('/switch')).length;
    // What asks for an upgrade counts as a request only if it came when the connection was closing.
    const rows = report.cut.length;
    if (report.requests.cut > rows || report.requests.cut < rows - switched) {
      this.#wrong(`${rows} rows, ${switched} of them upgraded, but ${report.requests.cut} requests cut`);
    }
    const { abandoned, completed, rejected, errors } = report.tasks;
    this.#same('all tasks', abandoned + completed + rejected, tasks.length);
    this.#same('errors of tasks', errors.length, rejected);
    if (abandoned > 0 && !this.reachedDeadline) this.#wrong('a task was abandoned before the deadline');
    this.#same('graceful', report.graceful, forced === 0 && report.requests.cut === 0 && abandoned === 0);
    for (const { url, headersSent } of report.cut) {
      if (headersSent && requests.get(url)?.answeringAt === null) this.#wrong(`no head was sent of ${url}`);
    }
  }

  http1(client) {
    const { requests, terminatedAt } = this.director;
    const { answers, connectedAt, endedAt, endedBy, leftAt } = client;
    // It was over before, or never began.
    if (endedAt < terminatedAt || endedBy === 'ECONNREFUSED' || this.#isBrokenByNode(client)) return;
    // Whoever comes late may be in the middle of connecting when everything is cut, and nobody has heard of it.
    const isAccepted = this.director.accepted.some(({ port }) => port === client.localPort);
    const isLate = connectedAt === null || connectedAt > terminatedAt || !isAccepted;
    if (isLate && this.reachedDeadline && endedBy !== 'FIN') return;
    // Whoever goes away wants no answers, and nor does whoever half-closes, to Node by default.
    const halfClosed = client.halfClosedAt !== null && (client.isBrokenOff || !this.director.allowsHalfOpen);
    const wants = leftAt === null && !halfClosed;
    let isOver = client.wroteTooLate;
    // Where a handler terminates and answers at once, TLS may have yet to hand out what has come behind its request.
    const { secure } = this.director.transport;
    const unknown = secure && client.requests.some(({ url }) => requests.get(url)?.startedAt === terminatedAt - 1);
    client.requests.forEach((request, place) => {
      const { url, end } = request;
      const answer = answers[place];
      const whole = answer?.whole ?? false;
      const known = requests.get(url);
      const next = client.requests[place + 1];
      // A reset takes with it what its client has not read yet.
      const behind = client.requests.slice(place + 1);
      const cut =
        this.reachedDeadline && behind.some((later) => this.listed.has(later.url) || !requests.has(later.url));
      const isReset = cut || (unknown && next !== undefined) || this.#isEndedBefore(client.requests.slice(place));
      if (whole && this.listed.has(url) && !this.#isWrittenLate(known))
        this.#wrong(`${url} is listed, and was answered`);
      if (whole && wants && answer.body !== answerTo(request))
        this.#wrong(`another answer to ${url}: ${answer.status}`);
      if (wants && !whole && !isOver && !isReset) {
        if (end <= client.receivedBefore) {
          if (!known && this.reachedDeadline) {
            if (!this.#mayBeBodyOf(client.requests[place - 1], client)) this.#halved.add(client.number);
          } else if (!this.listed.has(url)) this.#wrong(`${url} was lost`);
          if (!this.reachedDeadline && !unknown) this.#wrong(`${url} was cut before the deadline`);
        } else if (known && !this.listed.has(url) && !this.#mayBeReset(request, client, known)) {
          this.#wrong(`the handler for ${url} ran for nothing`);
        }
      }
      // Its handler has said so, or the answer could, unless what came behind the body was read together with its head.
      const saysClose = isEarly(request) && answer?.headers?.connection !== 'keep-alive';
      const mayClose = saysClose && (unknown || !this.#isReadWithNext(client, place));
      if (request.answer.connection === 'close' || mayClose) isOver = true;
      // Who breaks off in the middle of a request is told so by Node.
      const isOurs = answer?.status === 200;
      if (whole && isOurs && next && !isOver && /close/.test(answer.headers.connection)) {
        if (next.end <= client.receivedBefore && !unknown)
          this.#wrong(`close on ${url}, though ${next.url} had been received`);
        if (requests.get(next.url)?.startedAt < known?.answeringAt)
          this.#wrong(`close on ${url}, though ${next.url} had come`);
        if (!unknown && this.#isReadWithNext(client, place))
          this.#wrong(`close on ${url}, though ${next.url} was read with it`);
      }
    });
    if (wants && !isOver && endedBy !== 'FIN') this.#explain(client);
  }

  /** Whether Node had ended a connection by itself behind one of these, while its client was still writing. */
  #isEndedBefore(pipelined) {
    const { requests, terminatedAt } = this.director;
    return pipelined.some((request, place) => {
      const ended = requests.get(request.url)?.finishedAt < terminatedAt && request.answer.connection === 'close';
      return ended && (place < pipelined.length - 1 || isEarly(request));
    });
  }

  /** Whether the head of a request was read together with all of the next request. */
  #isReadWithNext({ requests }, place) {
    const [{ writtenUpTo }, next] = requests.slice(place);
    const isReadAtOnce = !this.director.transport.secure && requests.at(-1).end < READ_AT_ONCE;
    return isReadAtOnce && next !== undefined && next.end <= writtenUpTo;
  }

  /** Whether a part of a request was written only during the termination. */
  #isLate({ end }, client) {
    return end > client.receivedBefore;
  }

  /** Whether what came behind this request, and nobody has read, may as well have been the rest of its body. */
  #mayBeBodyOf(request, client) {
    if (request === undefined || request.end === request.headEnd) return false;
    return this.listed.has(request.url) || this.#isCutAmidBody(request, client);
  }

  /** Whether a request was answered before all of its body was read, and that is read no more. */
  #isCutAmidBody(request, { localPort }) {
    const { readBefore } = this.director.accepted.find(({ port }) => port === localPort) ?? {};
    return this.reachedDeadline && isEarly(request) && request.end > readBefore;
  }

  /** Its last byte may have left in the very turn in which it was cut. */
  #isWrittenLate({ finishedAt }) {
    return this.reachedDeadline && (finishedAt === null || finishedAt > this.director.terminatedAt);
  }

  /**
   * Node parses what comes over TLS although it has paused its parser, because a client pipelines and is slow to read,
   * and takes that for a malformed request.
   */
  #isBrokenByNode({ localPort }) {
    const accepted = this.director.accepted.find(({ port }) => port === localPort);
    return accepted?.secured?.errored?.code === 'HPE_PAUSED';
  }

  http2(client) {
    const { terminatedAt, requests } = this.director;
    for (const { url, outcome, cancelledAt } of client.requests) {
      const known = requests.get(url);
      if (client.leftAt !== null || cancelledAt !== null || outcome === 'answered') continue;
      const isReceived = known?.startedAt < terminatedAt;
      if (this.listed.has(url)) {
        if (!this.reachedDeadline) this.#wrong(`${url} was cut before the deadline`);
      } else if (isReceived) {
        this.#wrong(`${url} was lost: ${describe(outcome)}`);
      } else if (outcome !== 'refused' && !this.reachedDeadline) {
        this.#wrong(`${url} may not be tried again: ${describe(outcome)}`);
      }
    }
  }

  /** Whether a reset may have taken the answer to a request of which the rest was read no more. */
  #mayBeReset(request, client, known) {
    return (isEarly(request) && this.#isWrittenLate(known)) || this.#isCutAmidBody(request, client);
  }

  /** A client was reset, or never knew that it was connected. */
  #explain(client) {
    const urls = [...client.requests.map(({ url }) => url), `/${client.number}/switch`];
    if (urls.some((url) => this.listed.has(url)) || client.wroteTooLate || client.endedBy === 'FIN') return;
    // The rest of an answered body is read no more, and nobody knows what came behind it.
    const { answers, requests } = client;
    if (requests.some((request, place) => answers[place]?.whole && this.#isCutAmidBody(request, client))) return;
    // It may have come in the very turn in which everything was cut.
    const sent = [...client.requests, { end: client.switchEnd }];
    if (this.reachedDeadline && sent.some((request) => this.#isLate(request, client))) return;
    this.#halved.add(client.number);
  }

  /** Half requests have no names, so they are only counted. */
  half() {
    const halved = [...this.#halved];
    if (halved.length > this.halves)
      this.#wrong(`${this.halves} halves are listed, but clients ${halved} lost something`);
  }

  /** Nothing is left of it. */
  remains() {
    const { server, terminator, accepted, events } = this.director;
    const open = accepted.filter(({ socket }) => !socket.destroyed).length;
    if (open > 0) this.#wrong(`${open} connections are open`);
    this.#same('listening', server.listening, false);
    this.#same('state', terminator.state, 'terminated');
    this.#same('stats', Object.values(terminator.stats()).join(), '0,0,0,0,0,0');
    terminator.detach();
    const left = server.eventNames().map((event) => [event, server.listenerCount(event)]);
    this.#same('listeners', describe(left), describe(events));
  }

  #same(what, actual, expected) {
    if (actual !== expected) this.#wrong(`${what}: ${actual}, and not ${expected}`);
  }

  #wrong(what) {
    this.wrong.push(what);
  }
}

/**
 * Whether a handler answers before the rest of its request has come. At the deadline that is read no more, and a reset may
 * take the answer.
 */
function isEarly(request) {
  return request !== undefined && request.end > request.headEnd && request.answer.after !== 'body';
}

function describe(value) {
  return JSON.stringify(value, (_key, part) =>
    typeof part === 'symbol' ? String(part) : part instanceof Error ? part.message : part,
  );
}

module.exports = { judge };
