const { measureServingCost } = require('./serving-cost');

const measure = ({ quick }) =>
  measureServingCost({
    title: 'Cost of a request on a connection that is kept open',
    processes: 4,
    rounds: 8,
    requests: 3000,
    warmUpRequests: 8000,
    connections: 32,
    quick,
    figure: 'request on a connection kept open: processor time over plain Node, %',
    command: 'requestsOnOpenConnections',
  });

module.exports = { measure };
