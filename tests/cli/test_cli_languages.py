"""The terminal speaks the language of its environment; JSON stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutaway.words import words

Cutaway = Callable[..., Any]


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")


def spoken(text: str, *keys: str) -> None:
    """Each of the texts is Chinese and stands in `text` up to its first placeholder."""
    for key in keys:
        start = words("zh")(key, **dict.fromkeys(placeholders(key), "\0")).partition("\0")
        assert (start[0] or start[2].partition("\0")[0]).strip() in text, key


def placeholders(key: str) -> list[str]:
    return re.findall(r"{(\w+)", words("zh").texts[key])


@pytest.mark.usefixtures("chinese")
def test_training_and_measuring(cutaway: Cutaway, stage: Path, tiny: str) -> None:
    told = cutaway("train", stage / "colours", "-m", tiny, "--epochs", 1, "--set", "precision=fp32")
    assert told.code == 0
    assert "轮次 1/1  训练 损失" in told.err
    spoken(told.out, "terminal.best", "terminal.pictures", "terminal.next")
    page = Path("runs/colours-tiny-1/index.html").read_text("utf-8")
    assert '<html lang="zh-Hans">' in page
    assert words("zh")("report.learning") in page
    measured = cutaway("evaluate", "runs/colours-tiny-1").out
    spoken(measured, "evaluate.interval", "evaluate.calibration", "report.precision")
    assert "测试集（12 张图像）准确率" in measured
    assert "验证准确率" in cutaway("runs").out.splitlines()[0]
    assert "已完成" in cutaway("runs").out


@pytest.mark.usefixtures("chinese")
def test_looking(cutaway: Cutaway, run: Path, stage: Path) -> None:
    assert "得分" in cutaway("predict", run, "test:0").out
    assert "同一文件夹中：" in cutaway("kernels", run).out
    assert "参数量" in cutaway("summary", run).out
    assert "达到" in cutaway("imagine", run, "--class", "红", "--steps", 2, "--size", 12).out
    assert "重算核对：" in cutaway("exemplars", run, stage / "colours", "-k", 2).out
    assert "得分" in cutaway("explain", run, "test:0").out
    compared = cutaway("compare", run, f"{run}@1", "--data", stage / "colours", "--images", 8).out
    spoken(compared, "compare.measured", "compare.agree", "compare.matched")
    assert Path(cutaway("curves", run, "--out", "c.svg").out.strip()).is_file()


@pytest.mark.usefixtures("chinese")
def test_mistakes_are_told_in_the_language(cutaway: Cutaway, run: Path) -> None:
    wrong = cutaway("maps", run, "test:0", "--layer", "nothing")
    assert wrong.code == 2
    assert "没有层“nothing”；最接近的是 " in wrong.err
    assert "没有图像 test:999；" in cutaway("predict", run, "test:0", "test:999").err
    assert cutaway("maps").err == "cutaway: 缺少参数 'MODEL'；用法见 `cutaway maps --help`\n"
    assert "没有命令 'traain'" in cutaway("traain").err
    assert "没有选项 --epoch" in cutaway("train", "shapes", "--epoch", "3").err


@pytest.mark.usefixtures("chinese")
def test_json_is_the_same_everywhere(cutaway: Cutaway, run: Path) -> None:
    wrong = json.loads(cutaway("predict", run, "test:0", "test:999", "--json").out)
    assert wrong[1]["error"].startswith("there is no image test:999; there are ")
    copy = shutil.copytree(run, Path("one"))
    found = json.loads(cutaway("evaluate", copy, "--split", "val", "--json").out)
    assert found["split"] == "val"
    assert cutaway("evaluate", copy, "--split", "val", "--json").err == ""


@pytest.mark.usefixtures("chinese")
def test_a_table_of_the_summary_keeps_its_columns(cutaway: Cutaway, run: Path) -> None:
    from rich.cells import cell_len

    lines = cutaway("summary", run).out.splitlines()
    rule = lines[1]
    rows = lines[2 : lines.index(rule, 2)]
    assert {cell_len(line) for line in (lines[0], *rows)} == {len(rule)}


def test_stopping_is_told_in_the_language(cutaway: Cutaway, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("cutaway.cli.app.run", stop)
    assert cutaway("runs").err == "cutaway: stopped\n"
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert cutaway("runs").err == "cutaway: 已停止\n"
