const { measureServingCost } = require('./serving-cost');

const measure = ({ quick }) =>
  measureServingCost({
    title: 'Cost of a request on a connection of its own',
    groups: 12,
    warmUpRounds: 56,
    rounds: 32,
    requests: 256,
    connections: 8,
    quick,
    figure: 'request on a connection of its own: processor time over plain Node, %',
    command: 'requestsOnNewConnections',
  });

module.exports = { measure };
