"""Each rule speaks on a record with one thing changed by hand, names the layer, and is silent on the healthy one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from records import STEPS, Hand, evaluation, pixels

from cutaway.doctor.diagnosis import findings
from cutaway.doctor.finding import Finding
from cutaway.doctor.rule import RULES


def changed(name: str) -> tuple[Hand, str, str | None]:
    """A record with the fault of a rule; the severity and the layer that are expected."""
    found: tuple[Hand, str, str | None] = globals()[f"_{name.replace('-', '_')}"]()
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


# What a loop gets wrong


def _stale_gradients() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    for line in hand.looked[1:]:
        line["fresh_gradient"] = 0.6
    return hand, "error", None


def _trained_in_eval_mode() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    hand.each("modes", batch_norms=3, training=False)
    return hand, "error", None


def _evaluated_in_training_mode() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    hand.each("modes", dropouts=[0.5])
    hand.ends[0]["evaluation"]["training"] = True
    hand.ends[0]["passes"] = {"evaluated_in_training": 2}
    return hand, "error", None


def _not_shuffled() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    hand.ends[0]["seen"]["equal_neighbours"] = 0.98
    return hand, "error", None


def _not_updated() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    hand.stuck()
    for line in hand.layers():
        line["update_ratio"] = 0.0
    hand.each("optimizer", missing=["conv1.weight", "conv2.weight", "fc.weight"])
    return hand, "error", None


def _frozen_layers() -> tuple[Hand, str, str | None]:
    hand = Hand()
    for line in hand.layers("conv2"):
        line.update(trains=False, update_ratio=0.0, gradient_norm=None)
    return hand, "warning", "conv2"


def _wrong_loss() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    for line in hand.looked:
        line["loss"] = -line["logits"]["target"]
    return hand, "error", None


# Labels and splits


def _label_range() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.facts()["counts"]["train"] = [0, *[60] * 9]
    return hand, "warning", None


def _imbalanced_classes() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.facts()["counts"]["train"] = [960, *[10] * 9]
    return hand, "error", None


def _evaluated_on_training_data() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.facts()["in_train"]["test"] = 100
    return hand, "error", None


def _leak() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    hand.ends[0]["seen"]["evaluated_in_training_set"] = 20
    return hand, "error", None


def _duplicates() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.facts()["distinct"]["train"] = 300
    return hand, "warning", None


def _two_labels() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.facts()["two_labels"] = 8
    return hand, "warning", None


def _labels_without_meaning() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    hand.facts()["label_control"]["accuracy"] = 0.105
    return hand, "error", None


# The input


def _input_unscaled() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("input", min=0.0, max=255.0, mean=[120.0] * 3, std=[60.0] * 3)
    return hand, "warning", None


def _input_normalised_twice() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("input", min=-11.0, max=9.0, mean=[-2.1, -2.0, -1.8], std=[4.4, 4.5, 4.4])
    return hand, "warning", None


def _input_not_normalised() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("input", min=0.0, max=1.0, mean=[0.5] * 3, std=[0.25] * 3)
    return hand, "note", None


def _input_constant() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("input", min=0.2, max=0.2, mean=[0.2] * 3, std=[0.0] * 3, spread=0.0)
    return hand, "error", None


def _evaluation_differs() -> tuple[Hand, str, str | None]:
    hand = Hand(watched=True)
    hand.ends[0]["evaluation"]["input"].update(mean=[0.47] * 3, std=[0.25] * 3)
    return hand, "error", None


# The last layer and the loss


def _softmax_before_loss() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("logits", probabilities=True, min=0.0, max=1.0)
    hand.each("structure", last_layer="softmax", last_kind="Softmax")
    return hand, "error", "softmax"


def _activation_on_logits() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    hand.each("logits", min=0.0, zero_fraction=0.6)
    hand.each("structure", last_layer="relu3", last_kind="ReLU")
    return hand, "error", "relu3"


def _no_activation() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("structure", activations=0)
    return hand, "warning", "conv1"


def _first_loss() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.looked[0]["logits"]["cross_entropy"] = 30.0
    return hand, "warning", None


# How the weights begin


def _weights_all_alike() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv2"):
        line["weight_std"] = 0.0
    return hand, "error", "conv2"


def _initial_scale() -> tuple[Hand, str, str | None]:
    hand = Hand()
    for line in hand.layers("conv1"):
        line["weight_std"] = 0.8  # times the root of 100 inputs is 8
    return hand, "warning", "conv1"


# Inside the layers


def _not_finite() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.broken = {"step": 201, "first_bad": {"layer": "conv2", "where": "output"}}
    return hand, "error", "conv2"


def _tiny_batch_norm() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("modes", batch_norms=1, in_training=1)
    hand.each("input", shape=[2, 3, 8, 8])
    for line in hand.looked:
        line["layers"].append({**line["layers"][0], "layer": "norm1", "kind": "BatchNorm2d"})
    return hand, "warning", "norm1"


def _dead_units() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv2"):
        line["dead_fraction"] = 1.0
    return hand, "error", "conv2"


def _saturated_units() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv1"):
        line.update(saturated_fraction=0.9, zero_fraction=0.0)
    return hand, "error", "conv1"


def _exploding_gradients() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv1"):
        line["gradient_norm"] = 4000.0
    return hand, "error", "conv1"


def _vanishing_gradients() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv1"):
        line["gradient_norm"] = 1e-6
    return hand, "error", "conv1"


def _signal_fades() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in [*hand.layers("conv2"), *hand.layers("fc")]:
        line["output_spread"] = 0.001
    return hand, "error", "conv2"


# How large the steps are


def _divergence() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck(loss=9.0)
    hand.looked[0]["loss"] = 2.3
    hand.steps = hand.steps[1:]
    return hand, "error", None


def _rate_too_high() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.looked[1]["layers"]:
        line["update_ratio"] = 0.3 if line["layer"] != "fc" else 0.5
    return hand, "error", "fc"


def _rate_too_low() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    for line in hand.layers():
        line["update_ratio"] = 1e-6
    return hand, "error", None


def _oscillation() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    hand.looked = hand.looked[:1]
    for number, line in enumerate(hand.steps):
        line["loss"] = 2.3 + 1.5 * (number % 2)
    return hand, "warning", None


def _batch_too_small() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.each("input", shape=[1, 3, 8, 8])
    return hand, "warning", None


def _batch_too_large() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.looked, hand.steps = hand.looked[:3], []
    hand.each("input", shape=[512, 3, 8, 8])
    hand.epochs = [{**line, "step": 2 * line["epoch"]} for line in hand.epochs]
    return hand, "warning", None


# How it came out


def _over_regularised() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    hand.each("modes", dropouts=[0.9])
    return hand, "error", None


def _stuck_at_chance() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    return hand, "error", None


def _constant_prediction() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.stuck()
    hand.each("logits", predicted_classes=1, largest_share=1.0, spread=0.0)
    return hand, "error", None


def _overfitting() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.epochs = [hand.epoch(n, 1 / n, 0.6 + 0.09 * n, 1.2 + 0.3 * n, 0.55) for n in range(1, 5)]
    return hand, "warning", None


def _underfitting() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.epochs = [hand.epoch(n, 1.6, 0.4, 1.6, 0.4) for n in range(1, 7)]
    return hand, "warning", None


def _stopped_early() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.epochs = [hand.epoch(n, 2.2 - 0.3 * n, 0.3 + 0.1 * n, 2.2 - 0.3 * n, 0.3 + 0.1 * n) for n in range(1, 5)]
    return hand, "note", None


# Afterwards


def _test_set_used_for_choosing() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.info["data"]["splits"]["val"]["fingerprint"] = "test"
    return hand, "error", None


def _over_confident() -> tuple[Hand, str, str | None]:
    hand = Hand()
    bins = [{"images": 100, "confidence": 0.97, "accuracy": 0.8}]
    hand.evaluations["test"] = {**evaluation(), "calibration_error": 0.17, "calibration": bins}
    return hand, "warning", None


def _confused_classes() -> tuple[Hand, str, str | None]:
    hand = Hand()
    hand.evaluations["test"]["confusion"][3] = [0, 0, 0, 4, 0, 6, 0, 0, 0, 0]
    hand.evaluations["test"]["confusion"][5] = [0, 0, 0, 5, 0, 5, 0, 0, 0, 0]
    return hand, "note", None


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
