"""Working through a batch in chunks that fit the memory, and joining what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from cutaway.computing.memory import is_out_of_memory
from cutaway.errors import InputError
from cutaway.lenses.attribution.method import Found

T = TypeVar("T")


def in_chunks(count: int, batch: int, work: Callable[[slice, int], T]) -> tuple[list[T], tuple[str, ...]]:
    """What `work(images, batch)` returns for `count` images, at most `batch` of them at once, and notes about it.

    When the memory is too small, the batch is halved from there on and a note says so.

    Raises:
        InputError: there is not enough memory for a single image.
    """
    found: list[T] = []
    done, size = 0, batch
    while done < count:
        images = slice(done, min(done + size, count))
        try:
            found.append(work(images, size))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise InputError("there is not enough memory for one image; use a smaller image or network") from error
            size = max(1, min(size, count) // 2)
            _free()
            continue
        done = images.stop
    notes = () if size == batch else (f"the batch was halved from {batch} to {size} for want of memory",)
    return found, notes


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def joined(pieces: list[Found]) -> Found:
    """The findings of all chunks as one, on the CPU.

    A check with a value per image keeps all of them; of one with a single number a chunk, the largest is kept. A
    parameter that differs between chunks becomes the list of its values.
    """
    return Found(
        torch.cat([piece.values.detach().float().cpu() for piece in pieces]),
        _by_name([piece.check for piece in pieces], _join_checks),
        tuple(dict.fromkeys(note for piece in pieces for note in piece.notes)),
        _by_name([piece.parameters for piece in pieces], lambda values: values[0] if _same(values) else values),
    )


def _by_name(tables: Iterable[Mapping[str, Any]], join: Callable[[list[Any]], Any]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {}
    for table in tables:
        for name, value in table.items():
            columns.setdefault(name, []).append(value)
    return {name: join(values) for name, values in columns.items()}


def _join_checks(values: list[Any]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat([value.detach().float().cpu().flatten() for value in values])
    return values[0] if _same(values) else max(values)


def _same(values: list[Any]) -> bool:
    return all(value == values[0] for value in values)
