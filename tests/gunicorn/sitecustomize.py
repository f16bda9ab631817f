"""Puts our worker in the place of gunicorn's, in each Python that has this folder on its path.

So gunicorn's own tests of its thread worker test ours: `make test` runs them.
"""

import importlib.util
from pathlib import Path

from gunicorn.workers import gthread

# By its path, as one of those tests has an application of its own that is called app.
_spec = importlib.util.spec_from_file_location(
    "worker", Path(__file__).parent.parent.parent / "app" / "worker.py"
)
assert _spec is not None
assert _spec.loader is not None
_worker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_worker)
# Their listeners are mocks, at which connections never end.
_worker.ACCEPTED_AT_ONCE = 1  # type: ignore[attr-defined] # nothing is known of what is loaded by path
gthread.ThreadWorker = _worker.Worker  # type: ignore[misc] # that is the point
