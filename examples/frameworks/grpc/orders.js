// What a .proto file would be made into.

const encoding = {
  requestStream: false,
  responseStream: false,
  requestSerialize: (text) => Buffer.from(text),
  requestDeserialize: (bytes) => bytes.toString(),
  responseSerialize: (text) => Buffer.from(text),
  responseDeserialize: (bytes) => bytes.toString(),
};

export const Orders = {
  hello: { path: '/example.Orders/Hello', ...encoding },
  order: { path: '/example.Orders/Order', ...encoding },
};
