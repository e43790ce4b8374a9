"""All cases."""

from __future__ import annotations

from faults.healthy import HEALTHY
from faults.tuned import TUNED

CASES = [*TUNED, *HEALTHY]
