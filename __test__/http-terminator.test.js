// The drop-in for http-terminator: the same cases against that package and against ours.

const assert = require('node:assert/strict');
const http = require('node:http');
const { it } = require('node:test');
const peerPackage = require('http-terminator');
const { version } = require('http-terminator/package.json');
const ourPackage = require('..');
const { requestText } = require('./support/client');
const { commonCases, compare, refused, OWN_PATIENCE, PEER_PATIENCE } = require('./support/differential');
const { gatedHandler } = require('./support/server');

const subject = (name, { createHttpTerminator: create }, deadline, patience) => ({
  name,
  create,
  deadline,
  patience,
  attach: attachWith(create, { gracefulTerminationTimeout: deadline }),
});
const peer = subject(`http-terminator ${version}`, peerPackage, 400, PEER_PATIENCE);
// Where nothing is to be cut, its deadline is never reached.
const ours = subject('ours', ourPackage, 60_000, OWN_PATIENCE);

function attachWith(create, options) {
  return (server) => {
    const { terminate } = create({ server, ...options });
    return () =>
      terminate().then(
        () => 'resolves',
        (error) => `rejects ${error.code}`,
      );
  };
}

/** An answer never comes, and these options say when that is to be enough. */
const hanging = (name, options) => ({
  name: `an answer that never comes, with ${name}`,
  async play(stage) {
    const { handler, arrived } = gatedHandler();
    const server = stage.createServer(handler);
    const end = stage.limited(attachWith(stage.subject.create, options)(server));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    const client = await stage.connect(server);
    await client.write(requestText('/never'));
    await arrived('/never');
    return [await end(), await stage.seen(client)].join('; ');
  },
  ours: 'resolves; no answer; FIN',
});

/** These options are refused. */
const wrong = (name, options, code) =>
  refused(`options: ${name}`, ({ create }) => create({ server: http.createServer(), ...options }), code);

compare(peer, ours, [
  ...Object.values(commonCases('resolves', 'resolves')),
  hanging('gracefulTerminationTimeout: 50', { gracefulTerminationTimeout: 50 }),
  hanging('gracefulTerminationTimeout: 0', { gracefulTerminationTimeout: 0 }),
  hanging('no timeout', {}),
  hanging('gracefulTerminationTimeout: undefined', { gracefulTerminationTimeout: undefined }),
  hanging('httpResponseTimeout: 50', { httpResponseTimeout: 50 }),
  wrong('no server', { server: undefined }, 'TypeError ERR_INVALID_ARG_TYPE'),
  wrong('an application for a server', { server: () => {} }, 'TypeError ERR_INVALID_ARG_TYPE'),
  wrong("gracefulTerminationTimeout: '50'", { gracefulTerminationTimeout: '50' }, 'TypeError ERR_INVALID_ARG_TYPE'),
  wrong('gracefulTerminationTimeout: null', { gracefulTerminationTimeout: null }, 'TypeError ERR_INVALID_ARG_TYPE'),
  wrong('gracefulTerminationTimeout: NaN', { gracefulTerminationTimeout: Number.NaN }, 'RangeError ERR_OUT_OF_RANGE'),
  wrong('gracefulTerminationTimeout: -1', { gracefulTerminationTimeout: -1 }, 'RangeError ERR_OUT_OF_RANGE'),
  wrong(
    'both timeouts, different',
    { gracefulTerminationTimeout: 1, httpResponseTimeout: 2 },
    'TypeError ERR_INVALID_ARG_VALUE',
  ),
  { ...wrong('both timeouts, equal', { gracefulTerminationTimeout: 1, httpResponseTimeout: 1 }), ours: 'accepted' },
  { ...wrong('one that does not exist', { logger: console }), ours: 'accepted' },
]);

it('has every export of http-terminator', () => {
  for (const [name, value] of Object.entries(peerPackage)) assert.equal(typeof ourPackage[name], typeof value, name);
});
