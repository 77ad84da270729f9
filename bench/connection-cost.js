const { measureServingCost } = require('./serving-cost');

const measure = () =>
  measureServingCost({
    title: 'Cost of a request on a connection of its own',
    processes: 3,
    rounds: 5,
    requests: 2500,
    warmUpRequests: 5000,
    connections: 8,
    command: 'requestsOnNewConnections',
  });

module.exports = { measure };
