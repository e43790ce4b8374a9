"""`load_data`: from a name or a folder to a data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data.cache import Decoded, decode_folder, most_common
from cutaway.data.dataset import Dataset, Quarantined
from cutaway.data.families import families
from cutaway.data.folder import Entry, Listing, list_folder
from cutaway.data.leaving import read_leaving, without
from cutaway.data.part import Split
from cutaway.data.sources import BUILT_IN, Found, load_built_in
from cutaway.data.split import shared_images, stratified
from cutaway.errors import InputError, unknown
from cutaway.progress import Progress

_VAL_SHARE, _TEST_SHARE, _MOST_VAL = 0.1, 0.1, 5_000


def load_data(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    val: float | None = None,
    test: float | None = None,
    split_seed: int = 0,
    keep_together: bool = False,
    max_bad: float = 0.05,
    leave_out: str | Path | None = None,
    download: bool = True,
    trainable: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """A built-in data set by name, or a folder of images.

    Args:
        source: "fashion-mnist", "mnist", "cifar10", "cifar100", "shapes", or a folder.
        data_dir: where to look first for a built-in set, and where a download goes.
        size: the side in pixels to bring every image to; None chooses from the images.
        channels: 1 grey or 3 colour; None chooses from the images.
        val: the share of the training images (of all images, if the folder has no splits) that validates; 0.1.
        test: the share of all images that tests, if the folder has no splits; 0.1.
        split_seed: of the splits made here.
        keep_together: whether near duplicates, too, stay in one of the splits made here.
        max_bad: the share of files that may be bad; with more it refuses.
        leave_out: a list of files of the folder to leave out, as `cutaway audit` writes it.
        download: whether a built-in set that is nowhere on this machine may be fetched.
        trainable: whether it has to be fit for training: two classes or more, each with images for every split.
            Otherwise a class that cannot be split is in train as a whole.
        progress: called as progress(label, done, total).

    Raises:
        InputError: when there is nothing to load, in one sentence with the way out.
    """
    _check(size, channels, val, test, max_bad)
    options: dict[str, Any] = {
        "data_dir": str(data_dir) if data_dir else None,
        "size": size,
        "channels": channels,
        "val": val,
        "test": test,
        "split_seed": split_seed,
        "keep_together": keep_together or None,
        "max_bad": max_bad,
        "leave_out": str(leave_out) if leave_out else None,
    }
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(source, str) and source in BUILT_IN:
        if test is not None:
            raise InputError(f"{source} comes with its own test images; leave the test share out")
        if leave_out:
            raise InputError(f"{source} is built in and has no files to leave out; {leave_out} is for a folder")
        found = load_built_in(source, Path(data_dir) if data_dir else None, size, channels, download, progress)
        group = _Grouping(keep_together, progress)
        splits = _built_in_splits(found, val, split_seed, group)
        notes = (*found.notes, *group.notes, *_overlaps(splits))
        given = _given(source, splits, found.splits, keep_together)
        return Dataset(source, source, found.classes, splits, (), notes, split_seed, options, given)
    root = _folder(source)
    listing = list_folder(root, trainable=trainable)
    left_out = read_leaving(Path(leave_out)) if leave_out else ()
    if leave_out:
        listing = without(listing, left_out, root, Path(leave_out))
    entries = [entry for files in listing.splits.values() for entry in files]
    decoded = decode_folder(root, entries, size, channels, progress)
    _check_bad(root, decoded, len(entries), max_bad)
    group = _Grouping(keep_together, progress, trainable)
    splits = _folder_splits(root, listing, decoded, val, test, split_seed, group)
    notes = (*listing.notes, *decoded.notes, *group.notes, *_two_classes(splits), *_overlaps(splits))
    quarantine = (*left_out, *(Quarantined(file, reason) for file, reason in decoded.bad.items()))
    given = _given(str(root), splits, listing.splits, keep_together)
    return Dataset(
        str(source), root.resolve().name, listing.classes, splits, quarantine, notes, split_seed, options, given
    )


def _check(size: int | None, channels: int | None, val: float | None, test: float | None, max_bad: float) -> None:
    if size is not None and not 1 <= size <= 4096:
        raise InputError(f"the size is 1 to 4096 pixels; found {size}")
    if channels not in (None, 1, 3):
        raise InputError(f"channels is 1 (grey) or 3 (colour); found {channels}")
    for name, share in (("val", val), ("test", test)):
        if share is not None and not 0 < share < 1:
            raise InputError(f"the {name} share is more than 0 and less than 1; found {share}")
    if (val or 0) + (test or 0) >= 1:
        raise InputError(f"the val and test shares leave nothing to train on; found {val} + {test}")
    if not 0 <= max_bad <= 1:
        raise InputError(f"max_bad is a share from 0 to 1; found {max_bad}")


def _folder(source: str | Path) -> Path:
    root = Path(source).expanduser()
    if root.is_dir():
        if not os.access(root, os.R_OK | os.X_OK):
            raise InputError(f"{root} cannot be read: no permission; change it or choose another folder")
        return root
    if root.exists():
        raise InputError(f"{root} is a file; a data set is a folder of class folders, or one of {', '.join(BUILT_IN)}")
    if isinstance(source, Path) or len(root.parts) > 1:
        raise InputError(f"there is no folder {root}; name a folder of images, or one of {', '.join(BUILT_IN)}")
    raise unknown("data set", str(source), BUILT_IN, "a folder here nor built in")


def _check_bad(root: Path, decoded: Decoded, total: int, max_bad: float) -> None:
    bad, reasons = len(decoded.bad), Counter(decoded.bad.values())
    if bad == total:
        raise InputError(f"{root} has no readable image: {total} files tried; {most_common(reasons)}")
    if bad > max_bad * total:
        raise InputError(
            f"{root}: {bad} of {total} files ({bad / total:.1%}) cannot be decoded, more than {max_bad:.1%} "
            f"({most_common(reasons)}); repair or remove them, or raise --max-bad"
        )


class _Grouping:
    """Which images a split may not separate: equal ones, or near duplicates too; and what is to be told of those.

    `strict` is whether a class that cannot be split is an error.
    """

    def __init__(self, near: bool, progress: Progress | None, strict: bool = True) -> None:
        self.near = near
        self.strict = strict
        self.progress = progress
        self.notes: list[str] = []

    def __call__(self, split: Split) -> np.ndarray:
        """One number for each image, uint64 (N,)."""
        if not self.near:
            return split.hashes
        found = families(split, self.progress)
        _, counts = np.unique(found, return_counts=True)
        if counts.max() > 1:
            self.notes.append(
                f"{counts[counts > 1].sum()} images have near duplicates: {(counts > 1).sum()} families of up to "
                f"{counts.max()}, each in one split"
            )
        return found


def _given(source: str, splits: dict[str, Split], came: Collection[str], keep_together: bool) -> tuple[str, ...]:
    """The splits that came with the source; to keep near duplicates together, there has to be another."""
    given = tuple(name for name in splits if name in came)
    if keep_together and len(given) == len(splits):
        raise InputError(f"{source} comes with all its splits, and none is made here; leave keep-together out")
    return given


def _built_in_splits(found: Found, val: float | None, seed: int, group: _Grouping) -> dict[str, Split]:
    if "val" in found.splits:
        return found.splits
    return {**_carve(found.splits["train"], val, seed, found.classes, group), "test": found.splits["test"]}


def _carve(train: Split, val: float | None, seed: int, classes: tuple[str, ...], group: _Grouping) -> dict[str, Split]:
    """A validation split out of the training images: a tenth, at most 5,000, unless a share is given."""
    share = min(_VAL_SHARE, _MOST_VAL / len(train)) if val is None else val
    rows = stratified(train.labels, group(train), {"val": share}, seed, classes, group.strict)
    return {name: _part(train, name, rows[name]) for name in ("train", "val")}


def _part(split: Split, name: str, rows: np.ndarray) -> Split:
    files = tuple(split.files[row] for row in rows) if split.files is not None else None
    masks = split.masks[rows] if split.masks is not None else None
    return Split(name, split.images.select(rows), split.labels[rows], files, masks, split.hashes[rows])


def _folder_splits(
    root: Path,
    listing: Listing,
    decoded: Decoded,
    val: float | None,
    test: float | None,
    seed: int,
    group: _Grouping,
) -> dict[str, Split]:
    whole = _readable_splits(listing, decoded)
    if "all" in whole:
        shares = {"val": _VAL_SHARE if val is None else val, "test": _TEST_SHARE if test is None else test}
        rows = stratified(whole["all"].labels, group(whole["all"]), shares, seed, listing.classes, group.strict)
        return {name: _part(whole["all"], name, rows[name]) for name in ("train", "val", "test")}
    for name, share in (("val", val), ("test", test)):
        if name in whole and share is not None:
            raise InputError(f"{root} has its own {name}/; leave the {name} share out")
    if test is not None:
        raise InputError(f"{root} has train/ and val/ but no test/; a test share is only for folders without splits")
    for name, split in whole.items() if group.strict else ():
        _check_labels(root, name, split.labels, listing.classes)
    made = whole if "val" in whole else {**whole, **_carve(whole["train"], val, seed, listing.classes, group)}
    return {name: made[name] for name in ("train", "val", "test") if name in made}


def _readable_splits(listing: Listing, decoded: Decoded) -> dict[str, Split]:
    """The splits as listed, without the bad files; the decoded images are in the order of the listing."""
    splits, start = {}, 0
    for name, entries in listing.splits.items():
        good: Sequence[Entry] = [entry for entry in entries if entry.file not in decoded.bad]
        rows = np.arange(start, start + len(good))
        labels = np.array([entry.label for entry in good], dtype=np.int64)
        files = tuple(entry.file for entry in good)
        splits[name] = Split(name, decoded.images.select(rows), labels, files, None, decoded.hashes[rows])
        start += len(good)
    return splits


def _check_labels(root: Path, name: str, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    missing = [classes[label] for label in np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)]
    if missing:
        listed = ", ".join(f"'{label}'" for label in missing)
        raise InputError(f"{root}: {name}/ has no readable image of class {listed}; add some to every split")


def _two_classes(splits: dict[str, Split]) -> tuple[str, ...]:
    """A note when the same image is filed under two classes."""
    labels = np.concatenate([split.labels for split in splits.values()])
    hashes = np.concatenate([split.hashes for split in splits.values()])
    pairs = np.unique(np.stack([hashes, labels.astype(np.uint64)], axis=1), axis=0)
    count = len(pairs) - len(np.unique(pairs[:, 0]))
    return (f"{count} distinct images are filed under more than one class",) if count else ()


def _overlaps(splits: dict[str, Split]) -> tuple[str, ...]:
    """A note for every evaluation split that shares images with the training images."""
    notes = []
    for name in ("val", "test"):
        if name in splits and (count := shared_images(splits["train"].hashes, splits[name].hashes)):
            notes.append(f"{count} of {len(splits[name])} {name} images are in train too, to the last pixel")
    return tuple(notes)
