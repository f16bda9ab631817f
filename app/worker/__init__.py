"""gunicorn worker that reads and writes on event loops and waits in thread pools.

Each listener has its own event loop, thread pool and connection limit, so that the management port
responds independently of the load on the public port. The event loop collects header sections and
small bodies and sends responses that are in memory, so that slow clients do not hold a thread.

States of a connection:

    READING, then COLLECTING while a small body is incomplete
       |
       +--- request complete, proven quick -----------> application runs on the event loop
       |                                                         |
       +--- any other complete request -------------> IN_APPLICATION (thread pool)
       |                                                         |
       |  malformed or late: 400, 408, ...                response produced
       |                                                         v
       +--------------------------------------------------> WRITING, if the client is slow
                                                                 |
    READING <-- first byte -- IDLE <-- Connection: keep-alive ---+--- close --> LINGERING

Every state except IN_APPLICATION has a timeout; connections in these states can be evicted.
"""

from app.worker.worker import Worker

__all__ = ["Worker"]
