// Random scripts of clients and of a termination, each played against a real server and held to what is promised.
// The same for hours, and one script again: see model/run.js.
//
// What holds, and is checked by model/judge.js:
//
// 1. A request that the kernel had received whole when terminate() was called is answered whole, or the report lists it,
//    which it does only at the deadline. Whose handler has been called is answered whole or listed, whenever it came.
//    With a timeout of 0, what nobody has read is listed as half a request, unless it may be the rest of one that is listed.
//    Excepted are
//    - clients that went away, or half-closed where the server does not allow for that, or in the middle of a request;
//    - what follows an answer that says close by its handler's will, or that was sent before its request had come whole
//      (that connection is told to go, and what is read behind its FIN is listed);
//    - clients that have not read an answer yet when the deadline cuts the request behind it;
//    - clients that were still writing behind an answer that said close by its handler's will, and had ended before terminate();
//    - what had come behind the request whose handler itself calls terminate() and answers in the same tick, if TLS has yet to
//      hand it out.
// 2. Of pipelined answers only the last says close, as far as the next request had been received when terminate() was
//    called, or its handler had been called when the head left. The same exceptions.
// 3. No client is reset unless the report lists a request of it, or it wrote on when the server had sent FIN, or it came
//    during the termination and was still connecting at the deadline, or what it wrote during it was not read by then. With a timeout of 0, nobody is accepted any more.
// 4. Over HTTP/2, a stream that the server knew of is answered whole or listed, and any other is refused in a way that lets
//    its client try again, unless the deadline came. What was written in the turn in which it was cut may be whole.
// 5. terminate() settles by the deadline and some slack for a busy machine; and if everything ends by itself, then, too.
// 6. The counts of the report are those of the server's own account.
// 7. No connection, listener, descriptor, timer or other handle is left.
//
// Not part of any script, as nobody can know: that a client has gone away whose request's body nobody reads. Node does not
// look at such a socket, so it is waited for until the deadline.

const assert = require('node:assert/strict');
const diagnosticsChannel = require('node:diagnostics_channel');
const fs = require('node:fs');
const { it } = require('node:test');
const { turn } = require('./support/server');
const { tryScripts } = require('./model/try');

/** The same scripts each time, so that a change can be told from chance; others are tried by hand. */
const SEED = 600_917_680;

it('random scripts end as they should', async (test) => {
  const [before, descriptors] = [whatIsOpen(), countDescriptors()];
  const failures = await tryScripts({ scripts: 300, seed: SEED, tell: (line) => test.diagnostic(line) });
  assert.deepEqual(failures, []);
  // Closed handles are gone a few turns later.
  for (let turns = 0; turns < 1000 && countDescriptors() > descriptors; turns += 1) await turn();
  assert.deepEqual(whatIsOpen(), before);
  assert.ok(countDescriptors() <= descriptors, `${countDescriptors()} descriptors, and not ${descriptors}`);
  assert.equal(diagnosticsChannel.hasSubscribers('http.server.request.start'), false);
  assert.equal(diagnosticsChannel.hasSubscribers('http.server.response.finish'), false);
});

/** What keeps the process alive, besides the limit of the test itself. */
function whatIsOpen() {
  return process
    .getActiveResourcesInfo()
    .filter((kind) => kind !== 'Immediate')
    .sort();
}

function countDescriptors() {
  return process.platform === 'linux' ? fs.readdirSync('/proc/self/fd').length : 0;
}
