import type { Server } from 'node:net';

/**
 * Gives a server the methods `shutdown()` and `forceShutdown()`, as the package `http-shutdown` does.
 *
 * @param server A server of `node:http`, `node:https` or `node:http2`.
 * @returns The same server.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if it is none.
 *
 * @example
 * const server = addShutdown(http.createServer(handler)).listen(8080);
 * process.once('SIGTERM', () => server.shutdown());
 */
declare function addShutdown<S extends Server>(server: S): S & addShutdown.WithShutdown;

declare namespace addShutdown {
  interface WithShutdown {
    /**
     * Ends the server as `terminate()` does, and waits for requests in flight as long as they take. Upgraded connections,
     * which may have no end of their own, are ended at once.
     *
     * @param callback Called a few turns of the event loop after the server's event `close`, with an error whose code is
     * `ERR_SERVER_NOT_RUNNING` if it was not listening or already shutting down.
     * @throws {TypeError} `ERR_INVALID_ARG_TYPE` if `callback` is not a function.
     */
    shutdown(callback?: ((error?: Error) => void) | undefined): void;

    /** As `shutdown()`, but everything is destroyed at once, also what a `shutdown()` is waiting for. */
    forceShutdown(callback?: ((error?: Error) => void) | undefined): void;
  }

  /** What a server has from `extend()` on. It is not declared on `http.Server`, which has it from then on only. */
  interface Extended {
    /** As `addShutdown(server)`. */
    withShutdown(): this & WithShutdown;
  }

  /**
   * Gives all servers of `node:http` and `node:https` a method `withShutdown()`, by writing on their prototypes.
   *
   * @example
   * extend();
   * const server = (http.createServer(handler) as http.Server & Extended).withShutdown();
   */
  function extend(): void;
}

export = addShutdown;
