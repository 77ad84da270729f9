module.exports = {
  // For `await using`, which Node itself knows from its version 24 on.
  transform: { '\\.spec\\.js$': ['babel-jest', { plugins: ['@babel/plugin-transform-explicit-resource-management'] }] },
};
