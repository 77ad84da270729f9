const { measureServingCost } = require('./serving-cost');

const measure = ({ quick }) =>
  measureServingCost({
    title: 'Cost of a request on a connection that is kept open',
    groups: 12,
    warmUpRounds: 60,
    rounds: 40,
    requests: 768,
    connections: 32,
    quick,
    figure: 'request on a connection kept open: processor time over plain Node, %',
    command: 'requestsOnOpenConnections',
  });

module.exports = { measure };
