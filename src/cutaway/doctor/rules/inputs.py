"""What the network is given: range, standardisation, constancy, and whether training and evaluation get the same."""

from __future__ import annotations

from typing import Any

from cutaway.doctor.record import Record
from cutaway.doctor.rule import Said, rule, say

_SYMPTOMS = (
    "labels-without-meaning",
    "first-loss",
    "rate-too-high",
    "rate-too-low",
    "oscillation",
    "divergence",
    "exploding-gradients",
    "dead-units",
    "saturated-units",
    "constant-prediction",
    "stuck-at-chance",
    "one-batch-not-learnt",
    "signal-fades",
    "underfitting",
    "not-finite",
)
_OF_A_COLOUR = ("mean", "std", "low", "high")
_NORMALISE = "in your loop: images = (images / 255 - mean) / std, with mean and std of each colour of the training set"


@rule("input-unscaled", explains=_SYMPTOMS)
def input_unscaled(record: Record) -> Said | None:
    """Pixels go in as 0..255."""
    facts = _first_input(record)
    if facts is None or facts["max"] is None or facts["min"] < -20 or facts["max"] <= 20:
        return None
    return say(
        record.worst(),
        f"the input runs from {facts['min']:.3g} to {facts['max']:.3g}, where about -2 to 2 is expected",
        cause="pixels are given as 0..255: the first layer's outputs and gradients are a hundred times too large",
        remedy=_NORMALISE,
        step=1,
        min=facts["min"],
        max=facts["max"],
    )


@rule("input-normalised-twice", explains=_SYMPTOMS)
def input_normalised_twice(record: Record) -> Said | None:
    """Pixels were standardised or scaled twice."""
    facts = _first_input(record)
    if facts is None or facts["max"] is None:
        return None
    scale = max(std or 0.0 for std in facts["std"])
    offset = max(abs(mean or 0.0) for mean in facts["mean"])
    shrunk = 0 < max(abs(facts["min"]), abs(facts["max"])) < 0.05 and not _constant(facts)
    twice = scale > 2.2 and offset > 0.6 and max(abs(facts["min"]), abs(facts["max"])) <= 20
    if not shrunk and not twice:
        return None
    how = "divided by 255 twice" if shrunk else "standardised twice"
    return say(
        record.worst(),
        f"the input runs from {facts['min']:.3g} to {facts['max']:.3g} (mean {_mean(facts):.2g}, "
        f"deviation {scale:.2g})",
        cause=f"the pixels were {how}",
        remedy="in your loop: normalise in one place alone, the data set's transform or the training loop",
        step=1,
        mean=_mean(facts),
        deviation=scale,
    )


@rule("input-not-normalised")
def input_not_normalised(record: Record) -> Said | None:
    """Pixels go in as 0..1, not centred."""
    facts = _first_input(record)
    if facts is None or facts["max"] is None or _constant(facts):
        return None
    scale = max(std or 0.0 for std in facts["std"])
    if facts["min"] < -0.01 or not 0.05 <= facts["max"] <= 1.01 or _mean(facts) < 0.5 * scale:
        return None
    return say(
        "warning" if record.fails else "note",
        f"the input runs from {facts['min']:.2g} to {facts['max']:.2g} with mean {_mean(facts):.2f}: it is not centred",
        cause="pixels are given as 0..1; networks learn more quickly from inputs of mean 0 and deviation 1",
        remedy=_NORMALISE.replace("images / 255", "images"),
        step=1,
        mean=_mean(facts),
        deviation=scale,
    )


@rule("input-constant", explains=(*_SYMPTOMS, "duplicates", "evaluated-on-training-data"))
def input_constant(record: Record) -> Said | None:
    """All images of a batch are the same."""
    facts = _first_input(record)
    if facts is None or not _constant(facts) or facts["shape"][0] < 2:
        return None
    return say(
        "error",
        f"the {facts['shape'][0]} images of the first batch are all the same (values {facts['min']:.3g} to "
        f"{facts['max']:.3g})",
        cause="images came out blank: a failed decoding, a mask or a scaling in whole numbers that rounds to 0",
        remedy="look at a batch before it enters the network",
        step=1,
        spread=facts["spread"],
    )


@rule("evaluation-differs", explains=("overfitting",))
def evaluation_differs(record: Record) -> Said | None:
    """Training and evaluation images are not prepared alike."""
    end = next((end for end in record.ends if end.get("evaluation")), None)
    facts = _first_input(record)
    if end is None or facts is None or len(facts["mean"]) != len(end["evaluation"]["input"]["mean"]):
        return None
    told = _difference(_average(record), end["evaluation"]["input"])
    if told is None:
        return None
    return say(
        "error",
        f"the evaluation's input has mean {_listed(end['evaluation']['input']['mean'])}, training's "
        f"{_listed(_average(record)['mean'])}: {told[0]}",
        cause=told[1],
        remedy="in your loop: the same decoding, colours and normalisation for both; only augmentation differs",
        step=end["step"],
        training_deviation=max(_average(record)["std"]),
        evaluation_deviation=max(end["evaluation"]["input"]["std"]),
    )


def _difference(train: dict[str, Any], test: dict[str, Any]) -> tuple[str, str] | None:
    """How the inputs differ, and the cause."""
    scale, other = max(train["std"]), max(test["std"])
    if scale < 1e-6:
        return None
    apart = _distance(train["mean"], test["mean"]) / scale
    if len(train["mean"]) == 3 and _turned(train, test, scale):
        return "the colours are swapped", "one reads RGB, the other BGR"
    if not 0.55 < other / scale < 1.8:
        return f"its deviation is {other / scale:.2g} times as large", "one is normalised, the other is not"
    if apart > 0.6:
        return "it is shifted", "they are normalised by different means"
    return None


def _turned(train: dict[str, Any], test: dict[str, Any], scale: float) -> bool:
    """Whether the colours fit much better in reverse order, by their means and by how dark and light they get.

    Standardised colours have equal means and deviations, and still end at different values.
    """
    keys = [key for key in _OF_A_COLOUR if train.get(key) and test.get(key)]
    straight = max(_distance(train[key], test[key]) for key in keys)
    reverse = max(_distance(train[key][::-1], test[key]) for key in keys)
    return straight > 0.2 * scale and reverse < 0.4 * straight


def _average(record: Record) -> dict[str, Any]:
    """The inputs of all check-ups together, colour by colour."""
    inputs = [c["input"] for c in record.looked]
    return {
        key: [sum(facts[key][n] for facts in inputs) / len(inputs) for n in range(len(inputs[0][key]))]
        for key in _OF_A_COLOUR
        if all(facts.get(key) for facts in inputs)
    }


def _distance(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def _listed(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _first_input(record: Record) -> dict[str, Any] | None:
    return dict(record.first["input"]) if record.first else None


def _constant(facts: dict[str, Any]) -> bool:
    return facts["spread"] is not None and facts["spread"] <= 1e-5 * max(1e-3, abs(facts["max"]), abs(facts["min"]))


def _mean(facts: dict[str, Any]) -> float:
    return float(sum(facts["mean"]) / len(facts["mean"]))
