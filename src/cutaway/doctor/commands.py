"""The command that trains a run again with something changed."""

from __future__ import annotations

import shlex
from typing import Any

from cutaway.doctor.record import Record
from cutaway.training import make_recipe, packaged_recipe

_DATA_OPTIONS = {
    "size": "--size",
    "channels": "--channels",
    "data_dir": "--data-dir",
    "max_bad": "--max-bad",
    "leave_out": "--leave-out",
}


def train_again(record: Record, *words: str, **changes: Any) -> str:
    """`cutaway train ...` as the run was trained, with recipe keys changed and `words` added.

    For a loop that is not Cutaway's there is no such command: the changes are told in words.
    """
    if record.watched:
        return "in your loop: " + ", ".join([*words, *(f"{key} = {_number(value)}" for key, value in changes.items())])
    data, model = record.info["data"], record.info["model"]
    source = data["source"] if not data["source"].startswith("-") else f"./{data['source']}"  # or it is an option
    parts = ["cutaway", "train", source, "--model", model["spec"]]
    for key, flag in _DATA_OPTIONS.items():
        if key in data["options"] and not (key == "max_bad" and data["options"][key] == 0.05):
            parts += [flag, str(data["options"][key])]
    if data["options"].get("keep_together"):
        parts.append("--keep-together")
    for name in model["options"].get("change", []):
        parts += ["--change", name]
    if model["options"].get("stem") and "change" not in changes:
        parts += ["--stem", model["options"]["stem"]]
    usual = make_recipe(packaged_recipe(data["name"], model["spec"])).as_dict()
    wanted = {**{key: value for key, value in record.recipe.items() if usual.get(key) != value}, **changes}
    for key, value in wanted.items():
        if key != "stem":
            parts += ["--set", f"{key}={_number(value)}"]
    return " ".join([*map(shlex.quote, parts), *words])


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
