"""Long work: asked for on a page, done by a worker, kept by content, and what happens when a worker dies."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from serving import Server, Tab

from cutaway import Scope, load_data
from cutaway.numerals import number
from cutaway.web.jobs import Job, Jobs


def ask_for(page: Any, button: str) -> None:
    """Press the button, and wait until the work is done."""
    page.click(f"button:has-text('{button}')")
    page.wait_for_selector("[data-job]")
    page.wait_for_selector("[data-job]", state="detached", timeout=120_000)
    page.wait_for_selector("html[data-ready]")


def no_violations(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page)
    assert found.violations_count == 0, found.generate_report()


def test_images_by_cell_of_the_confusion_matrix(server: Server, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/runs/one")
    ask_for(page, "Measure now")
    record = json.loads((server.folder / "one" / "evaluation-test.json").read_text())
    wrong = sum(sum(row) for row in record["confusion"]) - sum(row[i] for i, row in enumerate(record["confusion"]))
    assert page.locator("[data-grid] > li").count() == wrong
    sure = [float(one) for one in page.locator("[data-grid] > li").evaluate_all("all => all.map(a => a.dataset.value)")]
    assert sure == sorted(sure, reverse=True)
    no_violations(page)
    page.goto(f"{server.address}/runs/one")
    cell = page.locator("table.confusion td.right a").first
    count = int(cell.text_content())
    cell.click()
    page.wait_for_url("**/images?**true=**")
    assert page.locator("[data-grid] > li").count() == count
    page.locator("[data-grid] a").first.click()
    page.wait_for_url("**/images/test:*")
    assert tab.wrong == []


def test_every_method_on_one_image(server: Server, open_tab: Callable[..., Tab]) -> None:
    from cutaway.lenses.attribution import METHODS

    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/runs/two/e3/images/test:0")
    ask_for(page, "Explain it by every method")
    shown = page.locator(".methods h3").count() + page.locator("section[aria-labelledby=why] .notes li").count()
    assert shown == len(METHODS)
    assert page.locator("button:has-text('Explain it by every method')").count() == 0
    no_violations(page)
    assert tab.wrong == []


def test_the_pages_of_a_layers_units_are_made(home: Path, server: Server, open_tab: Callable[..., Tab]) -> None:
    """The score of the first real patch is the highest value of the unit's maps over all training images."""
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/runs/two/e3/layers/3/c2")
    ask_for(page, "Make the pages of all 12 units of 3")
    scope = Scope(f"{home}/runs/two@3")
    options = json.loads((home / "runs/two/run.json").read_text())["data"]["options"]
    images = np.asarray(load_data(home / "photos", **options).splits["train"].images[:])
    highest = float(scope.feature_maps(images, ["3"]).maps["3"][:, 2].max())
    first = page.locator("section[aria-labelledby=excites] .patches figcaption").first
    assert number(highest) in first.text_content()
    no_violations(page)
    for lens in ("exemplars", "imagined"):
        page.goto(f"{server.address}/runs/two/e3/layers/3?lens={lens}&sort=number")
        assert page.locator("[data-grid] > li").count() == 12
        assert page.locator("[data-grid] .label span").all_text_contents() == [str(place) for place in range(12)]
        no_violations(page)
    assert tab.wrong == []


def test_two_runs_are_compared_layer_by_layer(server: Server, open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/compare/one@3/two@3")
    ask_for(page, "Compare all layers and answers")
    cells = page.locator("table.cka tbody td")
    assert cells.count() == 9
    cells.nth(1).locator("a").click()
    page.wait_for_url("**layer=0&other=3**")
    assert page.locator("main h2 a").all_text_contents()[:2] == ["one@3 · 0", "two@3 · 3"]
    no_violations(page)
    assert tab.wrong == []


@pytest.fixture
def jobs(server: Server, tmp_path: Path) -> Jobs:
    return Jobs(tmp_path / "jobs", server.folder)


def wait(jobs: Jobs, job: Job, *states: str) -> Job:
    for _ in range(600):
        found = jobs.find(job.id)
        assert found is not None
        if found.progress.state in states:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{job} never came to {states}: {found}")


def test_the_same_wish_is_the_same_job(jobs: Jobs) -> None:
    about = {"run": "one", "epoch": 3, "split": "test"}
    first, second = jobs.want("predict", about), jobs.want("predict", dict(reversed(about.items())))
    assert first.id == second.id
    assert wait(jobs, first, "done").progress.result == "test"


def test_what_cannot_be_done_is_one_sentence(jobs: Jobs) -> None:
    job = wait(jobs, jobs.want("predict", {"run": "nobody", "epoch": 3, "split": "test"}), "failed")
    assert job.progress.error.startswith(f"there is no run folder {jobs.root}/nobody")


def test_a_worker_that_dies_is_told_and_can_be_asked_again(jobs: Jobs) -> None:
    about = {"run": "one", "epoch": 2, "split": "train"}
    job = wait(jobs, jobs.want("predict", about), "running")
    while not jobs.find(job.id).progress.pid:
        time.sleep(0.05)
    os.kill(jobs.find(job.id).progress.pid, signal.SIGKILL)
    assert "the worker died" in wait(jobs, job, "failed").progress.error
    assert wait(jobs, jobs.want("predict", about), "done").progress.error == ""


def test_a_job_can_be_stopped(jobs: Jobs) -> None:
    job = wait(jobs, jobs.want("explain", {"run": "one", "epoch": 1, "image": "test:3"}), "running")
    jobs.cancel(job.id)
    assert jobs.find(job.id).progress.state == "cancelled"
    jobs.pump()
    time.sleep(0.3)
    assert jobs.find(job.id).progress.state == "cancelled"


def test_work_waits_for_the_next_start_of_the_server(jobs: Jobs, server: Server, tmp_path: Path) -> None:
    job = wait(jobs, jobs.want("explain", {"run": "one", "epoch": 1, "image": "test:5"}), "running")
    jobs.stop()
    again = Jobs(tmp_path / "jobs", server.folder)
    assert again.find(job.id).progress.state == "waiting"
    again.pump()
    assert wait(again, job, "done").progress.result == "test:5"


def test_training_starts_from_the_page_and_can_be_watched(
    home: Path, server: Server, open_tab: Callable[..., Tab]
) -> None:
    tab = open_tab()
    page = tab.page
    page.goto(f"{server.address}/train")
    page.fill("[name=data]", str(home / "photos"))
    page.fill("[name=model]", "tiny.py:make")
    page.fill("[name=epochs]", "2")
    page.fill("[name=name]", "mine")
    page.click("button:has-text('Start')")
    page.wait_for_selector("h3:has-text('mine') a", timeout=60_000)
    page.wait_for_selector("h3:has-text('mine'):has-text('done')", timeout=60_000)
    page.click("h3 a:has-text('mine')")
    page.wait_for_url("**/runs/mine")
    assert json.loads((server.folder / "mine" / "run.json").read_text())["status"] == "finished"
    assert tab.wrong == []


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"data": "", "model": "resnet18"}, "name the data and the model"),
        ({"data": "shapes", "model": "resnet18", "epochs": "-3"}, "epochs is -3, expected a whole number"),
        ({"data": "shapes", "model": "net.py:make"}, "is code in a file"),
        ({"data": "shapes", "model": "resnet18", "name": "../out"}, "a run cannot be called"),
        ({"data": "shapes", "model": "resnet18", "name": "one"}, "a run cannot be called"),
    ],
)
def test_a_training_that_cannot_start_says_why(sent: dict[str, str], says: str, server: Server) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.ask("/train", "POST", urlencode(sent).encode(), kind)
    assert answer.status == 400
    assert says in answer.text


def test_of_two_servers_over_one_folder_one_starts_the_workers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, str]] = []
    monkeypatch.setattr(Jobs, "_start", lambda self, job: started.append((self.name, job.id)))
    first, second = Jobs(tmp_path / "jobs", server.folder), Jobs(tmp_path / "jobs", server.folder)
    first.name, second.name = "first", "second"  # type: ignore[attr-defined]  # to tell them apart
    job = first.want("predict", {"run": "one", "epoch": 3, "split": "val"})
    second.want("predict", {"run": "one", "epoch": 3, "split": "val"})
    second.pump()
    assert started
    assert {who for who, _ in started} == {"first"}
    first.stop()
    first.pump()
    second.pump()
    assert started[-1] == ("second", job.id)
    second.stop()
