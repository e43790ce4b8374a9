"""The run folder: written by the trainer, only read by everything else. Knows no torch."""

from cutaway.runs.claims import claim_run_path, need_unborn, new_run, only_trainer
from cutaway.runs.folder import RunFolder, append_lines
from cutaway.runs.record import (
    Epoch,
    Run,
    best_line,
    best_of,
    is_run,
    list_runs,
    means_run,
    new_run_path,
    open_run,
    readable,
    resolve,
)
from cutaway.runs.schema import SCHEMA_VERSION, EvaluationRecord, FindingRecord, RunInfo
from cutaway.runs.sealed import write_sealed_json

__all__ = [
    "SCHEMA_VERSION",
    "Epoch",
    "EvaluationRecord",
    "FindingRecord",
    "Run",
    "RunFolder",
    "RunInfo",
    "append_lines",
    "best_line",
    "best_of",
    "claim_run_path",
    "is_run",
    "list_runs",
    "means_run",
    "need_unborn",
    "new_run",
    "new_run_path",
    "only_trainer",
    "open_run",
    "readable",
    "resolve",
    "write_sealed_json",
]
