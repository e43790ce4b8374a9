"""The run folder: written by the trainer, only read by everything else. Knows no torch."""

from cutaway.runs.claims import claim_run_path, need_unborn, new_run, only_trainer
from cutaway.runs.folder import SCHEMA_VERSION, RunFolder, append_lines, read_lines, truncate
from cutaway.runs.record import Epoch, Run, is_run, list_runs, new_run_path, open_run, resolve

__all__ = [
    "SCHEMA_VERSION",
    "Epoch",
    "Run",
    "RunFolder",
    "append_lines",
    "claim_run_path",
    "is_run",
    "list_runs",
    "need_unborn",
    "new_run",
    "new_run_path",
    "only_trainer",
    "open_run",
    "read_lines",
    "resolve",
    "truncate",
]
