"""Each rule speaks on a record with one thing changed by hand, names the layer, and is silent on the healthy one."""

from __future__ import annotations

import math
from typing import Any

import mistakes
import pytest
from records import STEPS, Hand, pixels

from cutaway.doctor.diagnosis import findings
from cutaway.doctor.finding import Finding
from cutaway.doctor.rule import RULES


def changed(name: str) -> mistakes.Mistake:
    """A record with the fault of a rule; the severity and the layer that are expected."""
    found: mistakes.Mistake = getattr(mistakes, name.replace("-", "_"))()
    return found


def look(name: str) -> Finding | None:
    return RULES[name].check(changed(name)[0].record())


@pytest.mark.parametrize("watched", [False, True])
def test_a_healthy_record_has_no_finding(watched: bool) -> None:
    assert findings(Hand(watched).record()) == []


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_speaks_where_it_should(name: str) -> None:
    hand, severity, layer = changed(name)
    found = RULES[name].check(hand.record())
    assert found is not None
    assert (found.rule, found.severity, found.evidence.layer) == (name, severity, layer)
    assert all([found.title, found.cause, found.remedy, found.evidence.numbers])


@pytest.mark.parametrize("name", list(RULES))
def test_what_is_found_is_told_by_its_rule_or_by_one_that_explains_it(name: str) -> None:
    told = findings(changed(name)[0].record())
    assert any(name == finding.rule or name in finding.also for finding in told)


# What several rules share


@pytest.mark.parametrize(
    ("swapped", "expected"), [([-1.6, -1.8, -1.9], "the colours are swapped"), ([-1.9, -1.8, -1.6], None)]
)
def test_swapped_colours_show_in_how_dark_each_gets(swapped: list[float], expected: str | None) -> None:
    hand = Hand(watched=True)
    high = [2.2, 2.1, 2.0] if expected else [2.0, 2.1, 2.2]
    hand.ends[0]["evaluation"]["input"] = {**pixels(100), "low": swapped, "high": high}
    found = RULES["evaluation-differs"].check(hand.record())
    assert (found.title.rpartition(": ")[2] if found else None) == expected


@pytest.mark.parametrize(
    ("loss", "told"),
    [(lambda line: -line["target"], "NLLLoss"), (lambda line: 3.0, "squared"), (lambda line: 64 * 2.3, "summed")],
)
def test_a_wrong_loss_is_told_by_its_value(loss: Any, told: str) -> None:
    hand = Hand(watched=True)
    hand.looked = hand.looked[:1]
    hand.looked[0]["loss"] = loss(hand.looked[0]["logits"])
    found = RULES["wrong-loss"].check(hand.record())
    assert told in getattr(found, "cause", "")


def test_the_floor_of_a_doubled_softmax_is_that_of_a_certain_right_answer() -> None:
    right = [math.exp(1.0), *[math.exp(0.0)] * 9]  # the softmax of one-hot "logits"
    found = look("softmax-before-loss")
    assert found is not None
    assert found.evidence.numbers["floor"] == pytest.approx(-math.log(right[0] / sum(right)), abs=1e-3)


def test_a_cause_tells_its_symptoms_as_its_own() -> None:
    hand, _, _ = changed("activation-on-logits")
    hand.each("logits", predicted_classes=1, largest_share=1.0, spread=0.0)
    (found,) = findings(hand.record())
    assert found.rule == "activation-on-logits"
    assert set(found.also) == {"stuck-at-chance", "constant-prediction"}


def test_units_that_large_steps_killed_are_the_rates_fault_and_those_dead_from_the_start_are_not() -> None:
    hand, _, _ = changed("rate-too-high")
    for line in hand.layers("conv2"):
        line["dead_fraction"] = 1.0
    hand.looked[0]["layers"][1]["dead_fraction"] = 0.0
    assert [finding.rule for finding in findings(hand.record())] == ["rate-too-high"]
    hand.looked[0]["layers"][1]["dead_fraction"] = 1.0
    assert [finding.rule for finding in findings(hand.record())] == ["dead-units"]


def test_before_forty_steps_nothing_is_called_stuck() -> None:
    hand = Hand()
    hand.stuck()
    kept = sum(step < 40 for step in STEPS)
    hand.looked, hand.steps, hand.epochs = hand.looked[:kept], [], []
    assert findings(hand.record()) == []


def test_an_empty_record_has_no_finding() -> None:
    hand = Hand(watched=True)
    hand.looked, hand.steps, hand.epochs, hand.ends, hand.evaluations = [], [], [], [], {}
    assert findings(hand.record()) == []


def test_a_network_that_learns_late_is_not_stuck() -> None:
    hand = Hand()
    hand.stuck(loss=2.25)
    for line in hand.steps:
        line["accuracy"] = 0.19
    hand.epochs = hand.epochs[:2]
    assert findings(hand.record()) == []


NULLABLE = [
    ("loss",),
    *[("input", key) for key in ("mean", "std", "low", "high", "min", "max", "spread")],
    *[("logits", key) for key in ("std", "spread")],
    *[("logits", key) for key in ("cross_entropy", "squared_error", "target", "accuracy")],
    ("optimizer", "lr"),
    ("optimizer", "momentum"),
    ("optimizer",),
    ("labels", "equal_neighbours"),
    ("labels", "counts"),
    ("fresh_gradient",),
    *[("layers", key) for key in ("gradient_norm", "weight_norm", "weight_std", "update_ratio")],
    *[("layers", key) for key in ("output_scale", "output_spread")],
]


def nothing(value: Any) -> Any:
    """What a record has where a number was not finite."""
    return [None] * len(value) if isinstance(value, list) else None


@pytest.mark.parametrize("name", ["", "activation-on-logits", "dead-units", "stuck-at-chance", "evaluation-differs"])
@pytest.mark.parametrize("path", NULLABLE, ids="-".join)
def test_a_number_that_is_none_breaks_no_rule(path: tuple[str, ...], name: str) -> None:
    hand = changed(name)[0] if name else Hand(watched=True)
    for line in [*hand.looked, *(end["evaluation"] for end in hand.ends)]:
        owners = line.get(path[0], {}) if len(path) > 1 else line
        for owner in owners if isinstance(owners, list) else [owners]:
            if path[-1] in owner:
                owner[path[-1]] = nothing(owner[path[-1]])
    assert all(finding.title for finding in findings(hand.record()))
