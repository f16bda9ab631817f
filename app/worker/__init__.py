"""gunicorn worker in which slow clients cannot exhaust the thread pool.

Each listener has its own event loop, thread pool and connection limit, so that the management port
responds whatever the public port does. The event loop collects header sections and small bodies,
runs requests that have proven quick, and sends what a client does not read at once.

States of a connection:

    READING ----- request complete, proven quick -----> application runs on the event loop
       |                                                         |
       +--------- any other complete request -----> IN_APPLICATION (thread pool)
       |                                                         |
       |  malformed or late: 400, 408, ...                response produced
       |                                                         v
       +--------------------------------------------------> WRITING, if the client is slow
                                                                 |
    READING <-- first byte -- IDLE <-- Connection: keep-alive ---+--- close --> LINGERING

Every state except IN_APPLICATION has a deadline, and its connections can be evicted.
"""

from app.worker.worker import Worker

__all__ = ["Worker"]
