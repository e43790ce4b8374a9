"""All cases."""

from __future__ import annotations

from faults.healthy import HEALTHY
from faults.held_out import HELD_OUT
from faults.second import SECOND
from faults.tuned import TUNED

CASES = [*TUNED, *HEALTHY, *HELD_OUT, *SECOND]
