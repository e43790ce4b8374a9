from __future__ import annotations

import math
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import get_type_hints

import pytest

from cutaway.errors import InputError
from cutaway.runs.schema import RecipeRecord
from cutaway.training.recipe import Recipe, make_recipe, packaged_recipe, read_recipe


def rates(recipe: Recipe, *progress: float) -> list[float]:
    return [round(recipe.rate(share), 6) for share in progress]


def test_schedules_by_hand() -> None:
    assert rates(Recipe(learning_rate=1, schedule="constant", warmup=0), 0, 0.5, 1) == [1, 1, 1]
    assert rates(Recipe(learning_rate=1, schedule="constant", warmup=0.5), 0, 0.25, 0.5, 1) == [0, 0.5, 1, 1]
    assert rates(Recipe(learning_rate=1, schedule="cosine", warmup=0), 0, 0.5, 1) == [1, 0.5, 0]
    assert rates(Recipe(learning_rate=2, schedule="triangular", warmup=0.2), 0, 0.1, 0.2, 0.6, 1) == [0, 1, 2, 1, 0]
    assert rates(Recipe(learning_rate=1, schedule="one-cycle", warmup=0.2), 0, 0.2, 0.6, 1) == [0.04, 1, 0.5, 0]
    step = Recipe(learning_rate=1, schedule="step", warmup=0, epochs=90, step_every=30, step_factor=0.1)
    assert rates(step, 0, 0.33, 1 / 3, 0.67, 0.99) == [1, 1, 0.1, 0.01, 0.01]
    assert rates(Recipe(learning_rate=1, schedule="cosine", warmup=0, final_rate=0.1), 1) == [0.1]


def test_rate_never_leaves_its_range() -> None:
    for schedule in ("constant", "step", "cosine", "one-cycle", "triangular"):
        for warmup in (0.0, 0.3, 1.0):
            recipe = Recipe(learning_rate=0.5, schedule=schedule, warmup=warmup)
            found = [recipe.rate(k / 200) for k in range(201)]
            assert all(math.isfinite(rate) and 0 <= rate <= 0.5 + 1e-12 for rate in found), (schedule, warmup)


def test_later_layers_win_and_none_is_skipped() -> None:
    recipe = make_recipe({"epochs": 3, "optimizer": "adam"}, {"epochs": 5, "optimizer": None})
    assert (recipe.epochs, recipe.optimizer) == (5, "adam")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat = 1", "learning_rat.*line 2.*nearest are 'learning_rate'"),
        ("epochs = 0", "line 2: epochs is 0, expected 1 to 100000"),
        ("epochs = 2.5", "line 2: epochs is 2.5, expected a whole number"),
        ('epochs = "ten"', "line 2: epochs is 'ten', expected a whole number"),
        ("epochs = true", "line 2: epochs is True, expected a whole number"),
        ('optimizer = "adm"', "optimizer 'adm' is not known.*line 2.*nearest are 'adam'"),
        ("momentum = 1.5", "line 2: momentum is 1.5, expected 0 to 0.9999"),
        ("epochs = = 3", "is not valid TOML"),
    ],
)
def test_a_wrong_key_or_range_names_the_line(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f"# mine\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_recipe(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no recipe file .*none\.toml"):
        read_recipe(tmp_path / "none.toml")


def test_every_packaged_recipe_is_valid() -> None:
    files = [file for file in (resources.files("cutaway.training") / "recipes").iterdir() if file.name.endswith("toml")]
    assert files
    for file in files:
        assert read_recipe(Path(str(file)))


def test_packaged_recipes_go_from_general_to_special() -> None:
    general, special = packaged_recipe("unheard-of", "unheard-of"), packaged_recipe("mnist", "resnet18")
    assert general == packaged_recipe("any", "any")
    assert special["flip"] == "none"  # a mirrored digit is no digit
    assert set(general) <= set(special)
    assert packaged_recipe("x", "vgg16") == packaged_recipe("x", "torchvision:vgg11")
    assert packaged_recipe("x", "some/path.py:make") == general


def test_the_record_has_the_keys_and_types_of_a_recipe() -> None:
    recorded, plain = get_type_hints(RecipeRecord), get_type_hints(Recipe)
    assert list(recorded) == [item.name for item in fields(Recipe)]
    assert recorded == {name: plain[name] for name in recorded}
