// What decorators would make, in JavaScript.

import { Controller, Get, Module } from '@nestjs/common';
import { ask } from '../backend.js';

class OrderController {
  hello() {
    return 'hello';
  }

  order() {
    return ask();
  }
}

export class AppModule {}

Controller()(OrderController);
for (const [name, route] of Object.entries({ hello: '/', order: '/order' })) {
  const { prototype } = OrderController;
  Get(route)(prototype, name, Object.getOwnPropertyDescriptor(prototype, name));
}
Module({ controllers: [OrderController] })(AppModule);
