"""What each kind of job does, in the worker's process. Each keeps its results by content and can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cutaway.errors import InputError
from cutaway.web import kept
from cutaway.web.images import Chosen, find_image
from cutaway.web.site import Named, Site
from cutaway.web.subject import Subject

if TYPE_CHECKING:
    from cutaway.training import Watcher

COMPARED = 1000  # images that two networks are compared on
Report = Callable[[str, int, int], None]


def subject_of(about: Mapping[str, Any], site: Site) -> Subject:
    """The network that a job is about."""
    if "run" in about:
        return Subject.of_run(site, site.run(about["run"]), about["epoch"])
    named = Named(about["spec"], about.get("weights"), about.get("data"))
    return Subject.of_model(Site(site.folder, {named.name: named}, site.trust), named.name)


def about_subject(subject: Subject) -> dict[str, Any]:
    """The inverse of `subject_of`, JSON-able."""
    if subject.run is not None:
        return {"run": subject.run.name, "epoch": subject.epoch}
    assert subject.named is not None
    return {"spec": subject.named.spec, "weights": subject.named.weights, "data": subject.named.data}


def predict(about: Mapping[str, Any], site: Site, report: Report) -> str:
    """What the network says of every image of a split; for a run's best epoch also what `evaluate` measures."""
    from cutaway.scope.answers import answers

    subject, split = subject_of(about, site), str(about["split"])
    data = subject.dataset()
    if data is None or split not in data.splits:
        raise InputError(f"{subject.name} has no {split} split to measure")
    kept.write_answers(subject, split, answers(subject.scope(), data.splits[split], report))
    if subject.run and subject.epoch == subject.run.best_epoch and not subject.run.evaluation(split):
        _evaluate(subject, split, data, report)
    return split


def _evaluate(subject: Subject, split: str, data: Any, report: Report) -> None:
    from cutaway.training import evaluate

    evaluate(subject.spec, split, data=data, trust=subject.site.trust, watch=_telling(report))


def explain(about: Mapping[str, Any], site: Site, report: Report) -> str:
    """Every explanation method for the predicted and the true class of one image."""
    subject = subject_of(about, site)
    image = find_image(subject, str(about["image"]))
    folder = kept.heat_folder(subject, image)
    names = kept.method_names()
    for done, name in enumerate(names):
        report(name, done, len(names))
        if kept.read_heat(folder, name) is None:
            kept.write_heat(folder, explained(subject, image, name))
    return image.name


def explained(subject: Subject, image: Chosen, method: str) -> kept.Heat:
    """One method's maps of an image, or why it has none."""
    scope = subject.scope()
    best = scope.predict([image.pixels])[0][0]["class"]
    targets = [best] if image.target is None or image.label == best else [best, image.label]
    try:
        found = [
            scope.explain([image.pixels], method, target, check=place == 0) for place, target in enumerate(targets)
        ]
    except InputError as error:
        return kept.Heat(method, error=str(error))
    return kept.Heat(
        method,
        found[0].attribution.layer or "",
        tuple(targets),
        tuple(float(one.attribution.scores[0]) for one in found),
        np.stack([one.attribution.heat(signed=True)[0].numpy() for one in found]).astype(np.float32),
        tuple(one.certificate.as_dict() for one in found),
    )


def atlas(about: Mapping[str, Any], site: Site, report: Report) -> str:
    """The pages of all units of a layer: real patches, statistics, weights and imagined images."""
    from cutaway.scope.atlas import make_atlas

    subject = subject_of(about, site)
    data = subject.dataset()
    if data is None:
        raise InputError(f"{subject.name} has no data to look for patches in")
    return str(make_atlas(subject.scope(), data, [about["layer"]], progress=report).path)


def compare(about: Mapping[str, Any], site: Site, report: Report) -> str:
    """Two networks on the same images of the first one's data: how alike their layers are, and where they differ."""
    from cutaway.scope import compare as side_by_side
    from cutaway.views.comparison import view_comparison

    a, b = (subject_of(about[side], site) for side in ("a", "b"))
    split, data = str(about["split"]), a.dataset()
    if data is None:
        raise InputError(f"{a.name} has no data to compare on")
    found = side_by_side(a.scope(), b.scope(), data, split=split, images=COMPARED, progress=report)
    kept.write_comparison(a, b, split, view_comparison(found))
    return split


def train(about: Mapping[str, Any], site: Site, report: Report) -> str:
    """Train a network; the run's own page shows it from its first step."""
    from cutaway.training import Interrupted
    from cutaway.training import train as start

    watch, chosen = _telling(report), {"recipe": about["recipe"], "model_options": {"trust": site.trust}}
    try:
        with site.naming_the_way():
            run = start(about["data"], about["model"], **chosen, runs=site.folder, name=about["name"], watch=watch)
    except Interrupted:
        raise SystemExit from None  # its run folder says so, and `cutaway resume` goes on
    return run.name


def _telling(report: Report) -> Watcher:
    """A watcher of training that reports progress step by step."""
    from cutaway.training import Watcher

    class Telling(Watcher):
        total = done = 0

        def work(self, label: str, done: int, total: int) -> None:
            report(label, done, total)

        def begin(self, steps: int, steps_an_epoch: int, total: int, batch_size: int) -> None:
            self.done, self.total = steps, total

        def step(self, loss: float, accuracy: float) -> None:
            self.done += 1
            report("train", self.done, self.total)

    return Telling()
