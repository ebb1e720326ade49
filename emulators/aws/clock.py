"""The clock of the local AWS may be wrong, as that of the real one is: CLOCK_MS is added to it. Imported before all that looks at the time."""

import datetime
import os
import time

AHEAD_S = int(os.environ.get("CLOCK_MS", "0")) / 1000

if AHEAD_S:
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + AHEAD_S
    time.time_ns = lambda: _time_ns() + int(AHEAD_S * 1_000_000_000)

    class Ahead(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls):
            return cls.now(datetime.timezone.utc).replace(tzinfo=None)

    datetime.datetime = Ahead
