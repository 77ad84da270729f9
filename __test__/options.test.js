// Bad input is refused at the call, in Node's way, and nothing has been attached then.

const assert = require('node:assert/strict');
const diagnosticsChannel = require('node:diagnostics_channel');
const { once } = require('node:events');
const http = require('node:http');
const { after, before, describe, it } = require('node:test');
const { createHttpTerminator } = require('..');

describe('createHttpTerminator()', () => {
  const server = http.createServer();
  // Whoever attaches to a server that listens watches for requests at once.
  before(() => once(server.listen(0, '127.0.0.1'), 'listening'));
  after(() => server.close());

  const invalidType = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const invalidValue = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
  const refuse = (what) => {
    throw new Error(`no ${what}`);
  };

  for (const [what, options, error, message] of [
    ['no options', undefined, invalidType, 'The "options" argument must be an object. Received undefined'],
    ['options of a wrong type', 'server', invalidType, /"options" .* Received type string \('server'\)$/],
    ['no server', {}, invalidType, /^The "options\.server" property must be a server of .* Received undefined$/],
    ['null for a server', { server: null }, invalidType, /"options\.server" .* Received null$/],
    ['an application for a server', { server: function app() {} }, invalidType, /Received function app$/],
    ['a socket for a server', { server: new (require('node:net').Socket)() }, invalidType, /an instance of Socket$/],
    [
      'a timeout that is not a number',
      { server, httpResponseTimeout: '1000' },
      invalidType,
      'The "options.httpResponseTimeout" property must be of type number. Received type string (\'1000\')',
    ],
    [
      'null for a timeout',
      { server, httpResponseTimeout: null },
      invalidType,
      /"options\.httpResponseTimeout" .* Received null$/,
    ],
    [
      'a negative timeout',
      { server, httpResponseTimeout: -1 },
      outOfRange,
      /"options\.httpResponseTimeout".* Received -1$/,
    ],
    [
      'a timeout of NaN',
      { server, httpResponseTimeout: Number.NaN },
      outOfRange,
      /"options\.httpResponseTimeout" .* Received NaN$/,
    ],
    [
      "a negative timeout under http-terminator's name",
      { server, gracefulTerminationTimeout: -5 },
      outOfRange,
      /"options\.gracefulTerminationTimeout".* Received -5$/,
    ],
    [
      'two timeouts that differ',
      { server, httpResponseTimeout: 1, gracefulTerminationTimeout: 2 },
      invalidValue,
      /'options\.gracefulTerminationTimeout'.*\(1\).* Received 2$/,
    ],
    ['an empty list of servers', { server: [] }, invalidValue, /'options\.server' must name at least one server/],
    [
      'a list with something else in it',
      { server: [server, 5] },
      invalidType,
      /"options\.server\[1\]".*type number \(5\)$/,
    ],
    // biome-ignore lint/suspicious/noSparseArray: that is the case
    ['a list with a gap in it', { server: [server, ,] }, invalidType, /"options\.server\[1\]".*Received undefined$/],
    [
      'what only looks like a server',
      { server: [server, { on() {}, close() {}, getConnections() {} }] },
      invalidType,
      /"options\.server\[1\]"/,
    ],
    [
      'a word for a time to keep connections',
      { server, keepAliveDrainTimeout: 'always' },
      invalidType,
      /^The "options\.keepAliveDrainTimeout" property must be of type number or 'auto'\. Received type string \('always'\)$/,
    ],
    ['null for a time to keep connections', { server, keepAliveDrainTimeout: null }, invalidType, /Received null$/],
    [
      'a negative time to keep connections',
      { server, keepAliveDrainTimeout: -1 },
      outOfRange,
      /"options\.keepAliveDrainTimeout".* Received -1$/,
    ],
    [
      'no number for a time to keep connections',
      { server, keepAliveDrainTimeout: Number.NaN },
      outOfRange,
      /'auto'\. Received NaN$/,
    ],
    ['a delay that is not a number', { server, shutdownDelay: '1s' }, invalidType, /"options\.shutdownDelay"/],
    ['a negative delay', { server, shutdownDelay: -1 }, outOfRange, /"options\.shutdownDelay".* Received -1$/],
    [
      'an endless delay',
      { server, shutdownDelay: Number.POSITIVE_INFINITY },
      outOfRange,
      /finite.* Received Infinity$/,
    ],
    ['one WebSocket server that is not in a list', { server, webSocketServers: {} }, invalidType, /an iterable/],
    ['an empty string for WebSocket servers', { server, webSocketServers: '' }, invalidType, /an iterable .*''/],
    [
      'a WebSocket server without clients',
      { server, webSocketServers: [{ clients: new Set() }, {}] },
      invalidType,
      /"options\.webSocketServers\[1\]" property must be a WebSocket server with iterable clients/,
    ],
    [
      'a close code of a wrong type',
      { server, webSocketCloseCode: '1001' },
      invalidType,
      /"options\.webSocketCloseCode"/,
    ],
    ...[999, 1004, 1005, 1006, 1015, 2999, 5000, 1000.5, Number.NaN].map((code) => [
      `the close code ${code}, which may not be sent`,
      { server, webSocketCloseCode: code },
      outOfRange,
      new RegExp(`Received ${code}$`),
    ]),
  ]) {
    it(`refuses ${what}`, () => {
      const before = attachedTo(server);
      assert.throws(() => createHttpTerminator(options), { ...error, message });
      assert.throws(
        () => createHttpTerminator(options),
        (thrown) => thrown instanceof Error,
      );
      assert.deepEqual(attachedTo(server), before);
    });
  }

  const unextensible = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /server\[2\]" .* extensible/ };
  for (const [what, spoil, error] of [
    ['is frozen', Object.freeze, unextensible],
    ['is sealed', Object.seal, unextensible],
    [
      'lets nobody listen',
      (unwilling) => unwilling.on('newListener', () => refuse('listener')),
      { message: 'no listener' },
    ],
    [
      'lets nobody listen to its end, nor cease to',
      (unwilling) =>
        unwilling
          .on('removeListener', () => refuse('removeListener'))
          .on('newListener', (event) => event === 'close' && refuse(event)),
      { message: 'no close' },
    ],
  ]) {
    it(`attaches to no server of a list if one of them ${what}, nor when it is tried again`, () => {
      const reluctant = http.createServer().on('removeListener', () => refuse('removeListener'));
      const unwilling = spoil(http.createServer());
      const servers = [reluctant, http.createServer(), unwilling];
      const listeners = () =>
        servers.map((server) => server.eventNames().map((event) => [event, server.listenerCount(event)]));
      const before = listeners();
      for (let time = 0; time < 2; time += 1) {
        assert.throws(() => createHttpTerminator({ server: servers }), error);
        assert.deepEqual(listeners(), before);
      }
    });
  }

  it('takes the same timeout under both names', async () => {
    const options = { server, httpResponseTimeout: 10, gracefulTerminationTimeout: 10 };
    await createHttpTerminator(options).terminate();
  });

  it('takes undefined for not given', async () => {
    const options = { server, httpResponseTimeout: undefined, gracefulTerminationTimeout: undefined };
    await createHttpTerminator(options).terminate();
  });
});

/** @param {http.Server} server */
function attachedTo(server) {
  return {
    listeners: server.eventNames().map((event) => [event, server.listenerCount(event)]),
    properties: Reflect.ownKeys(server),
    areRequestsWatched: diagnosticsChannel.hasSubscribers('http.server.request.start'),
    handles: process.getActiveResourcesInfo(),
  };
}
