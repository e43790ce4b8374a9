"""Training: recipes, the loop, exact continuation, evaluation."""

from cutaway.training.evaluation import evaluate
from cutaway.training.fit import Diverged, Interrupted
from cutaway.training.recipe import Recipe, make_recipe, packaged_recipe, read_recipe
from cutaway.training.runner import resume, train
from cutaway.training.watcher import Watcher

__all__ = [
    "Diverged",
    "Interrupted",
    "Recipe",
    "Watcher",
    "evaluate",
    "make_recipe",
    "packaged_recipe",
    "read_recipe",
    "resume",
    "train",
]
