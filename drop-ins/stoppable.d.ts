import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';

/**
 * Gives a server a method `stop()`, as the package `stoppable` does.
 *
 * @param server A server of `node:http`, `node:https` or `node:http2`.
 * @param grace How long requests in flight, and upgraded connections, may take from `stop()` on, in milliseconds. What
 * is left then is destroyed. 0 cuts everything at once. `Infinity`, the default, waits for requests as long as they
 * take, and ends upgraded connections at once, since they may have no end of their own.
 * @returns The same server.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if an argument is of the wrong type.
 * @throws {RangeError} `ERR_OUT_OF_RANGE` if `grace` is negative or NaN.
 *
 * @example
 * const server = stoppable(http.createServer(handler)).listen(8080);
 * process.once('SIGTERM', () => server.stop());
 */
declare function stoppable<S extends Server>(server: S, grace?: number | undefined): S & stoppable.WithStop;

declare namespace stoppable {
  interface WithStop {
    /**
     * Ends the server as `terminate()` does.
     *
     * @param callback Called a few turns of the event loop after the server's event `close`: with an error whose code is
     * `ERR_SERVER_NOT_RUNNING` if it was not listening or already stopping, and with whether it ended gracefully,
     * which is that nothing had to be cut.
     * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if `callback` is not a function.
     */
    stop(callback?: ((error: Error | undefined, gracefully: boolean) => void) | undefined): void;
  }

  type StoppableServer = HttpServer & WithStop;
}

export = stoppable;
