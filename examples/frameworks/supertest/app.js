import express from 'express';
import { ask } from '../backend.js';

export const app = express();
app.get('/', (_request, response) => response.send('hello'));
app.get('/order', async (_request, response) => response.send(await ask()));
