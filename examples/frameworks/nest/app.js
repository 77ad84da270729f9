import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { createHttpTerminator } from 'http-terminator-native';
import { AppModule } from './module.js';

const { PORT = '8080' } = process.env;

const app = await NestFactory.create(AppModule, { logger: ['error'] });
const terminator = createHttpTerminator({ server: app.getHttpServer(), httpResponseTimeout: 10_000 });

await app.listen(Number(PORT));
console.log(`port ${app.getHttpServer().address().port}`);

process.once('SIGTERM', async () => {
  const report = await terminator.terminate();
  await app.close();
  console.log(JSON.stringify(report));
});
