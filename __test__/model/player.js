// A client that plays its part of a script, whatever it speaks.

const { turn } = require('../support/server');

class Player {
  /** When the connection was open, as far as this client knows. */
  connectedAt = null;
  /** When it went away without waiting for answers. */
  leftAt = null;
  /** When its connection ended. */
  endedAt = null;

  constructor(director, number, { after, steps }) {
    this.director = director;
    this.number = number;
    this.after = after;
    this.steps = steps;
  }

  async play() {
    for (let count = 0; count < this.after; count += 1) await turn();
    this.connect();
    await turn();
    this.director.stepped();
    for (const step of this.steps) {
      if (this.endedAt !== null) break;
      await this.#take(step);
      this.director.stepped();
    }
  }

  async #take(step) {
    if (step.does === 'turns') {
      for (let count = 0; count < step.count; count += 1) await turn();
    } else {
      await this.take(step);
    }
    await turn();
  }
}

module.exports = { Player };
