"""The data that a run was trained on, loaded again; any other is refused."""

from __future__ import annotations

from pathlib import Path

from cutaway.data.dataset import Dataset
from cutaway.data.load import load_data
from cutaway.data.sources import BUILT_IN
from cutaway.errors import InputError
from cutaway.progress import Progress
from cutaway.runs import Run


def load_recorded(
    run: Run, given: Dataset | None = None, *, download: bool = True, progress: Progress | None = None
) -> Dataset:
    """The data set of a run, split as it was for the training.

    Args:
        run: whose record names the data and the options that load them.
        given: the data set, if it is loaded already; only compared.
        download: whether a built-in set that is nowhere on this machine may be fetched.
        progress: called as progress(label, done, total).

    Raises:
        InputError: the data are not where the record says, or are others than those that were trained on.
    """
    record = run.info["data"]
    source, options = record["source"], record.get("options", {})
    if given is None and not (source in BUILT_IN or (source and Path(source).expanduser().is_dir())):
        raise InputError(
            f"{run.name} was trained on {source or 'data that its record does not name'}, which is not here; "
            "put the folder there"
        )
    # A folder that the record names is nothing that a download may be written to.
    fetch = download and "data_dir" not in options
    data = given or load_data(source, **options, download=fetch, progress=progress)
    wanted = record.get("fingerprint", "")
    if data.fingerprint != wanted:
        raise InputError(
            f"{data.source} is not what {run.name} was trained on: its content changed (fingerprint "
            f"{wanted[:12] or 'not kept'}, now {data.fingerprint[:12]}), so images and splits may have moved; "
            "put the old files back or train anew"
        )
    return data
