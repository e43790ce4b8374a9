"""The doctor: why does it not learn, and what helps."""

from cutaway.doctor.diagnosis import diagnose
from cutaway.doctor.finding import Chart, Evidence, Finding
from cutaway.doctor.one_batch import try_one_batch
from cutaway.doctor.trials import Trial, try_remedies
from cutaway.doctor.watching import watch

__all__ = ["Chart", "Evidence", "Finding", "Trial", "diagnose", "try_one_batch", "try_remedies", "watch"]
