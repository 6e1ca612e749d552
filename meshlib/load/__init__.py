"""Load at the speed of the best tools, with a record of every request.

`run` does it; `Request` is an entry of a mix; `LoadResult` is what comes back.
Reading order: `plan` (pure), `engine`, `wire` and its two kinds (`direct` with `http1`, `transfers`),
`records`, `stats`, `result`, `run`, `commands`.
"""

from meshlib.load.plan import Plan, Request, Step
from meshlib.load.result import LoadResult
from meshlib.load.run import execute, run

__all__ = ["LoadResult", "Plan", "Request", "Step", "execute", "run"]
