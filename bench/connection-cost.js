const { measureServingCost } = require('./serving-cost');

const measure = ({ quick }) =>
  measureServingCost({
    title: 'Cost of a request on a connection of its own',
    processes: 3,
    rounds: 5,
    requests: 2500,
    warmUpRequests: 5000,
    connections: 8,
    quick,
    figure: 'request on a connection of its own: processor time over plain Node, %',
    command: 'requestsOnNewConnections',
  });

module.exports = { measure };
