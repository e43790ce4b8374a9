"""A record with one thing wrong for each rule, with the severity and the layer that are expected of its finding."""

from __future__ import annotations

from records import Hand, evaluation

Mistake = tuple[Hand, str, str | None]


# What a loop gets wrong


def stale_gradients() -> Mistake:
    hand = Hand(watched=True)
    for line in hand.looked[1:]:
        line["fresh_gradient"] = 0.6
    return hand, "error", None


def trained_in_eval_mode() -> Mistake:
    hand = Hand(watched=True)
    hand.each("modes", batch_norms=3, training=False)
    return hand, "error", None


def evaluated_in_training_mode() -> Mistake:
    hand = Hand(watched=True)
    hand.each("modes", dropouts=[0.5])
    hand.ends[0]["evaluation"]["training"] = True
    hand.ends[0]["passes"] = {"evaluated_in_training": 2}
    return hand, "error", None


def not_shuffled() -> Mistake:
    hand = Hand(watched=True)
    hand.ends[0]["seen"]["equal_neighbours"] = 0.98
    return hand, "error", None


def not_updated() -> Mistake:
    hand = Hand(watched=True)
    hand.stuck()
    for line in hand.layers():
        line["update_ratio"] = 0.0
    hand.each("optimizer", missing=["conv1.weight", "conv2.weight", "fc.weight"])
    return hand, "error", None


def frozen_layers() -> Mistake:
    hand = Hand()
    for line in hand.layers("conv2"):
        line.update(trains=False, update_ratio=0.0, gradient_norm=None)
    return hand, "warning", "conv2"


def wrong_loss() -> Mistake:
    hand = Hand(watched=True)
    for line in hand.looked:
        line["loss"] = -line["logits"]["target"]
    return hand, "error", None


# Labels and splits


def label_range() -> Mistake:
    hand = Hand()
    hand.facts()["counts"]["train"] = [0, *[60] * 9]
    return hand, "warning", None


def imbalanced_classes() -> Mistake:
    hand = Hand()
    hand.facts()["counts"]["train"] = [960, *[10] * 9]
    return hand, "error", None


def evaluated_on_training_data() -> Mistake:
    hand = Hand()
    hand.facts()["in_train"]["test"] = 100
    return hand, "error", None


def leak() -> Mistake:
    hand = Hand(watched=True)
    hand.ends[0]["seen"]["evaluated_in_training_set"] = 20
    return hand, "error", None


def duplicates() -> Mistake:
    hand = Hand()
    hand.facts()["distinct"]["train"] = 300
    return hand, "warning", None


def two_labels() -> Mistake:
    hand = Hand()
    hand.facts()["two_labels"] = 8
    return hand, "warning", None


def labels_without_meaning() -> Mistake:
    hand = Hand()
    hand.stuck()
    hand.facts()["label_control"]["accuracy"] = 0.105
    return hand, "error", None


# The input


def input_unscaled() -> Mistake:
    hand = Hand()
    hand.each("input", min=0.0, max=255.0, mean=[120.0] * 3, std=[60.0] * 3)
    return hand, "warning", None


def input_normalised_twice() -> Mistake:
    hand = Hand()
    hand.each("input", min=-11.0, max=9.0, mean=[-2.1, -2.0, -1.8], std=[4.4, 4.5, 4.4])
    return hand, "warning", None


def input_not_normalised() -> Mistake:
    hand = Hand()
    hand.each("input", min=0.0, max=1.0, mean=[0.5] * 3, std=[0.25] * 3)
    return hand, "note", None


def input_constant() -> Mistake:
    hand = Hand()
    hand.each("input", min=0.2, max=0.2, mean=[0.2] * 3, std=[0.0] * 3, spread=0.0)
    return hand, "error", None


def evaluation_differs() -> Mistake:
    hand = Hand(watched=True)
    hand.ends[0]["evaluation"]["input"].update(mean=[0.47] * 3, std=[0.25] * 3)
    return hand, "error", None


# The last layer and the loss


def softmax_before_loss() -> Mistake:
    hand = Hand()
    hand.each("logits", probabilities=True, min=0.0, max=1.0)
    hand.each("structure", last_layer="softmax", last_kind="Softmax")
    return hand, "error", "softmax"


def activation_on_logits() -> Mistake:
    hand = Hand()
    hand.stuck()
    hand.each("logits", min=0.0, zero_fraction=0.6)
    hand.each("structure", last_layer="relu3", last_kind="ReLU")
    return hand, "error", "relu3"


def no_activation() -> Mistake:
    hand = Hand()
    hand.each("structure", activations=0)
    return hand, "warning", "conv1"


def first_loss() -> Mistake:
    hand = Hand()
    hand.looked[0]["logits"]["cross_entropy"] = 30.0
    return hand, "warning", None


# How the weights begin


def weights_all_alike() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv2"):
        line["weight_std"] = 0.0
    return hand, "error", "conv2"


def initial_scale() -> Mistake:
    hand = Hand()
    for line in hand.layers("conv1"):
        line["weight_std"] = 0.8  # times the root of 100 inputs is 8
    return hand, "warning", "conv1"


# Inside the layers


def not_finite() -> Mistake:
    hand = Hand()
    hand.broken = {"step": 201, "first_bad": {"layer": "conv2", "where": "output"}}
    return hand, "error", "conv2"


def tiny_batch_norm() -> Mistake:
    hand = Hand()
    hand.each("modes", batch_norms=1, in_training=1)
    hand.each("input", shape=[2, 3, 8, 8])
    for line in hand.looked:
        line["layers"].append({**line["layers"][0], "layer": "norm1", "kind": "BatchNorm2d"})
    return hand, "warning", "norm1"


def dead_units() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv2"):
        line["dead_fraction"] = 1.0
    return hand, "error", "conv2"


def saturated_units() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv1"):
        line.update(saturated_fraction=0.9, zero_fraction=0.0)
    return hand, "error", "conv1"


def exploding_gradients() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv1"):
        line["gradient_norm"] = 4000.0
    return hand, "error", "conv1"


def vanishing_gradients() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.layers("conv1"):
        line["gradient_norm"] = 1e-6
    return hand, "error", "conv1"


def signal_fades() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in [*hand.layers("conv2"), *hand.layers("fc")]:
        line["output_spread"] = 0.001
    return hand, "error", "conv2"


# How large the steps are


def divergence() -> Mistake:
    hand = Hand()
    hand.stuck(loss=9.0)
    hand.looked[0]["loss"] = 2.3
    hand.steps = hand.steps[1:]
    return hand, "error", None


def rate_too_high() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.looked[1]["layers"]:
        line["update_ratio"] = 0.3 if line["layer"] != "fc" else 0.5
    return hand, "error", "fc"


def rate_too_low() -> Mistake:
    hand = Hand()
    hand.stuck()
    for line in hand.layers():
        line["update_ratio"] = 1e-6
    return hand, "error", None


def oscillation() -> Mistake:
    hand = Hand()
    hand.stuck()
    hand.looked = hand.looked[:1]
    for number, line in enumerate(hand.steps):
        line["loss"] = 2.3 + 1.5 * (number % 2)
    return hand, "warning", None


def batch_too_small() -> Mistake:
    hand = Hand()
    hand.each("input", shape=[1, 3, 8, 8])
    return hand, "warning", None


def batch_too_large() -> Mistake:
    hand = Hand()
    hand.looked, hand.steps = hand.looked[:3], []
    hand.each("input", shape=[512, 3, 8, 8])
    hand.epochs = [{**line, "step": 2 * line["epoch"]} for line in hand.epochs]
    return hand, "warning", None


# How it came out


def over_regularised() -> Mistake:
    hand = Hand()
    hand.stuck()
    hand.each("modes", dropouts=[0.9])
    return hand, "error", None


def one_batch_not_learnt() -> Mistake:
    hand = Hand()
    hand.stuck(loss=2.0)
    hand.facts()["distinct"]["train"] = 32
    return hand, "error", None


def stuck_at_chance() -> Mistake:
    hand = Hand()
    hand.stuck()
    return hand, "error", None


def constant_prediction() -> Mistake:
    hand = Hand()
    hand.stuck()
    hand.each("logits", predicted_classes=1, largest_share=1.0, spread=0.0)
    return hand, "error", None


def overfitting() -> Mistake:
    hand = Hand()
    hand.epochs = [hand.epoch(n, 1 / n, 0.6 + 0.09 * n, 1.2 + 0.3 * n, 0.55) for n in range(1, 5)]
    return hand, "warning", None


def underfitting() -> Mistake:
    hand = Hand()
    hand.epochs = [hand.epoch(n, 1.6, 0.4, 1.6, 0.4) for n in range(1, 7)]
    return hand, "warning", None


def stopped_early() -> Mistake:
    hand = Hand()
    hand.epochs = [hand.epoch(n, 2.2 - 0.3 * n, 0.3 + 0.1 * n, 2.2 - 0.3 * n, 0.3 + 0.1 * n) for n in range(1, 5)]
    return hand, "note", None


# Afterwards


def test_set_used_for_choosing() -> Mistake:
    hand = Hand()
    hand.info["data"]["splits"]["val"]["fingerprint"] = "test"
    return hand, "error", None


def over_confident() -> Mistake:
    hand = Hand()
    bins = [{"images": 100, "confidence": 0.97, "accuracy": 0.8}]
    hand.evaluations["test"] = {**evaluation(), "calibration_error": 0.17, "calibration": bins}
    return hand, "warning", None


def mislabelled_images() -> Mistake:
    hand = Hand()
    wrong = [("class 3", "class 5")] * 6 + [("class 5", "class 3")] * 3 + [("class 1", "class 2")]
    hand.evaluations["test"]["label_issues"] = [
        {"image": f"test:{place}", "file": None, "label": label, "answer": answer, "confidence": 0.01 * place}
        for place, (label, answer) in enumerate(wrong)
    ]
    return hand, "warning", None


def confused_classes() -> Mistake:
    hand = Hand()
    hand.evaluations["test"]["confusion"][3] = [0, 0, 0, 4, 0, 6, 0, 0, 0, 0]
    hand.evaluations["test"]["confusion"][5] = [0, 0, 0, 5, 0, 5, 0, 0, 0, 0]
    return hand, "note", None
