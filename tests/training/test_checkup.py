"""The facts of a check-up, against their definitions written out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.training.checkup import (
    Activity,
    Checkup,
    due,
    first_bad,
    input_facts,
    label_facts,
    logit_facts,
    mode_facts,
    optimizer_facts,
)
from cutaway.training.seen import Freshness, Seen, fingerprints


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.4), nn.Flatten(), nn.Linear(48, 4)
    )


def test_check_ups_are_due_at_one_two_and_five_times_powers_of_ten() -> None:
    expected = {lead * 10**power for lead in (1, 2, 5) for power in range(5)}
    assert {step for step in range(1, 60_000) if due(step)} == expected


def test_the_facts_of_an_input_by_hand() -> None:
    images = torch.tensor([[[[0.0, 4.0]], [[1.0, 1.0]]], [[[2.0, 2.0]], [[1.0, 5.0]]]])  # two images of two colours
    facts = input_facts(images)
    assert facts["shape"] == [2, 2, 1, 2]
    assert facts["mean"] == [2.0, 2.0]
    assert facts["std"] == pytest.approx([math.sqrt(2), math.sqrt(3)], rel=1e-5)
    assert (facts["min"], facts["max"]) == (0.0, 5.0)
    # From image to image the four places deviate by 1, 1, 0 and 2.
    assert facts["spread"] == pytest.approx(1.0)
    assert input_facts(images[:1])["spread"] is None


def test_how_dark_and_light_a_colour_gets_are_percentiles() -> None:
    images = torch.randn(50, 3, 4, 4)
    facts = input_facts(images)
    for colour in range(3):
        values = sorted(images[:, colour].flatten().tolist())
        place = 0.02 * (len(values) - 1)
        low = values[int(place)] + (place % 1) * (values[int(place) + 1] - values[int(place)])
        assert facts["low"][colour] == pytest.approx(low, abs=1e-5)
        assert facts["low"][colour] < facts["mean"][colour] < facts["high"][colour]


def test_the_facts_of_labels_by_hand() -> None:
    facts = label_facts(torch.tensor([2, 2, 0, 2]))
    assert facts == {
        "one_hot": False,
        "min": 0,
        "max": 2,
        "counts": [1, 0, 3],
        "equal_neighbours": pytest.approx(1 / 3),
    }
    assert label_facts(F.one_hot(torch.tensor([2, 2, 0, 2])).float()) == {**facts, "one_hot": True}


def test_the_facts_of_outputs_against_loops() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    facts = logit_facts(logits, labels)
    rows = [[float(value) for value in row] for row in logits]
    losses = [math.log(sum(map(math.exp, row))) - row[label] for row, label in zip(rows, labels.tolist(), strict=True)]
    assert facts["cross_entropy"] == pytest.approx(sum(losses) / 6, rel=1e-5)
    right = [row.index(max(row)) == label for row, label in zip(rows, labels.tolist(), strict=True)]
    assert facts["accuracy"] == pytest.approx(sum(right) / 6, rel=1e-5)
    targets = [row[label] for row, label in zip(rows, labels.tolist(), strict=True)]
    assert facts["target"] == pytest.approx(sum(targets) / 6, rel=1e-4)
    assert facts["predicted_classes"] == len({row.index(max(row)) for row in rows})
    assert facts["spread"] == pytest.approx(float(logits.std(0, correction=0).mean()), rel=1e-5)
    assert not facts["probabilities"]
    assert logit_facts(logits.softmax(1), labels)["probabilities"]


def test_outputs_that_are_no_numbers_and_labels_that_do_not_fit_are_told() -> None:
    assert logit_facts(torch.tensor([[math.nan, 1.0]]), torch.tensor([0])) == {"shape": [1, 2], "finite": False}
    assert logit_facts(torch.randn(2, 2), torch.tensor([0, 2]))["cross_entropy"] is None


def test_the_optimizer_and_the_modes() -> None:
    made = network()
    optimizer = torch.optim.SGD(list(made[0].parameters()), 0.1, momentum=0.9, weight_decay=0.01)
    facts = optimizer_facts(optimizer, made)
    assert facts["missing"] == ["1.weight", "1.bias", "5.weight", "5.bias"]
    assert (facts["kind"], facts["lr"], facts["momentum"], facts["weight_decay"]) == ("SGD", 0.1, 0.9, 0.01)
    made[1].eval()
    assert mode_facts(made) == {"training": True, "batch_norms": 1, "dropouts": [0.4], "in_training": 1}


def test_what_layers_return_against_a_pass_by_hand() -> None:
    made = network()
    with torch.no_grad():
        made[0].weight[1], made[0].bias[1] = 0.0, 0.0
        made[1].bias[1] = -1.0  # channel 1 is below 0 for every image
    images = torch.randn(8, 2, 6, 6)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    activity = Activity(made, images)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    outputs = F.conv2d(images, made[0].weight, made[0].bias)
    line = activity.line("0")
    assert line["output_scale"] == pytest.approx(float(outputs.detach().square().mean().sqrt()), rel=1e-4)
    assert line["output_spread"] == pytest.approx(float(outputs.detach().std(0, correction=0).mean()), rel=1e-4)
    assert activity.line("0")["dead_fraction"] == pytest.approx(1 / 3)
    assert activity.facts() == {"activations": 1, "last_layer": "5", "last_kind": "Linear"}


def test_an_activation_that_is_a_function_is_the_last_layer() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, batch: Tensor) -> Tensor:
            return F.relu(self.fc(batch.flatten(1)))

    facts = Activity(Last(), torch.randn(8, 1, 2, 2)).facts()
    assert (facts["last_layer"], facts["last_kind"]) == ("relu()", "function")


def test_a_step_is_seen_before_and_after() -> None:
    made = network().eval()
    made[5].weight.requires_grad_(False)
    images, labels = torch.randn(8, 2, 6, 6), torch.arange(8) % 4
    optimizer = torch.optim.SGD((p for p in made.parameters() if p.requires_grad), 0.5)
    logits = made(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    weight, gradient = made[0].weight.detach().clone(), made[0].weight.grad.clone()
    checkup = Checkup(made, images, labels, logits, loss.item())
    optimizer.step()
    line = checkup.line(1, 7, optimizer)
    convolution, _, head = line["layers"]
    assert (line["kind"], line["step"], line["loss"]) == ("checkup", 7, pytest.approx(loss.item(), rel=1e-5))
    assert convolution["update_ratio"] == pytest.approx(0.5 * float(gradient.norm() / weight.norm()), rel=1e-4)
    assert convolution["gradient_norm"] == pytest.approx(float(gradient.norm()), rel=1e-4)
    assert (head["trains"], head["update_ratio"], head["fan_in"]) == (False, 0.0, 48)


def test_the_first_bad_layer() -> None:
    made, images = network(), torch.randn(4, 2, 6, 6)
    assert first_bad(made, images) == {"layer": "", "where": "loss"}
    images[2, 0, 3, 3] = math.inf
    assert first_bad(made, images) == {"layer": "0", "where": "output"}
    with torch.no_grad():
        made[5].bias[1] = math.nan
    assert first_bad(made, images) == {"layer": "5", "where": "weights"}


def test_every_changed_value_changes_an_images_fingerprint() -> None:
    images = torch.randn(3, 2, 4, 4)
    found = fingerprints(images)
    assert fingerprints(images.flip(0)) == found[::-1]
    for place in range(32):
        changed = images.clone()
        changed[1].flatten()[place] += 0.01
        assert [a == b for a, b in zip(fingerprints(changed), found, strict=True)] == [True, False, True]


def test_what_was_seen_is_counted() -> None:
    seen, images = Seen(), torch.randn(120, 1, 8, 8)
    for part in images.split(40):
        seen.training(part, torch.arange(40) % 2)
    seen.evaluation(torch.cat([images[:30], torch.randn(10, 1, 8, 8)]))
    seen.training(images[:40], torch.arange(40) % 2)
    facts = seen.facts()
    assert (facts["images"], facts["distinct"], facts["counts"]) == (160, 120, {"0": 80, "1": 80})
    assert (facts["evaluated"], facts["evaluated_in_training_set"]) == (40, 30)
    assert facts["equal_neighbours"] == 0.0
    assert not facts["same_order"]
    seen.next_epoch()
    seen.training(images[:40], torch.arange(40) % 2)
    assert seen.facts()["same_order"]


@pytest.mark.parametrize(("forgets", "fresh"), [(False, True), (True, False)])
def test_gradients_left_over_are_seen(forgets: bool, fresh: bool) -> None:
    made = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    optimizer, watched = torch.optim.SGD(made.parameters(), 0.1), Freshness(made)
    for step in range(3):
        if not forgets:
            optimizer.zero_grad()
        torch.manual_seed(step)
        for _ in range(2):  # two batches are accumulated
            F.cross_entropy(made(torch.randn(4, 8)), torch.tensor([0, 1, 2, 0])).backward()
        if not forgets:  # clipping keeps the direction
            torch.nn.utils.clip_grad_norm_(made.parameters(), 0.01)
        watched.compare()
        optimizer.step()
        watched.forget()
    assert watched.cosine is not None
    assert (watched.cosine > 0.9999) is fresh
    watched.close()
