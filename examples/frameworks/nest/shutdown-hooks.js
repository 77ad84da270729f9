// Where Nest handles the signals, or others call app.close(): a provider ends the server before Nest closes it.

import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { HttpAdapterHost, NestFactory } from '@nestjs/core';
import { createHttpTerminator } from 'http-terminator-native';
import { AppModule } from './module.js';

const { PORT = '8080' } = process.env;

class Termination {
  constructor({ httpAdapter }) {
    this.httpAdapter = httpAdapter;
  }

  // Nest makes the server after the providers.
  onApplicationBootstrap() {
    this.terminator = createHttpTerminator({ server: this.httpAdapter.getHttpServer(), httpResponseTimeout: 10_000 });
  }

  async beforeApplicationShutdown() {
    console.log(JSON.stringify(await this.terminator.terminate()));
  }
}

class RootModule {}

Module({
  imports: [AppModule],
  providers: [
    {
      provide: Termination,
      inject: [HttpAdapterHost],
      useFactory: (host) => new Termination(host),
    },
  ],
})(RootModule);

const app = await NestFactory.create(RootModule, { logger: ['error'] });
app.enableShutdownHooks();
await app.listen(Number(PORT));
console.log(`port ${app.getHttpServer().address().port}`);
