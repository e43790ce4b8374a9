"""The doctor: why does it not learn, and what helps."""

from cutaway.doctor.diagnosis import diagnose
from cutaway.doctor.finding import Chart, Evidence, Finding
from cutaway.doctor.watching import watch

__all__ = ["Chart", "Evidence", "Finding", "diagnose", "watch"]
