const { measureServingCost } = require('./serving-cost');

const measure = () =>
  measureServingCost({
    title: 'Cost of a request on a connection that is kept open',
    processes: 4,
    rounds: 8,
    requests: 3000,
    warmUpRequests: 8000,
    connections: 32,
    command: 'requestsOnOpenConnections',
  });

module.exports = { measure };
