"""Choosing how to compute: device, number format, memory layout, and what a short measurement says of them."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.computing.small_maps import small_maps
from cutaway.computing.twin import bf16_share
from cutaway.errors import InputError
from cutaway.files import alone, cache_folder, explain_disk_errors, read_json, write_json

_PROBE_STEPS = 2
_PATIENCE = 30.0  # seconds for another process to write a few lines


@dataclass(frozen=True)
class Plan:
    """How a network is computed while it trains.

    Attributes:
        device: "cpu", "cuda", "cuda:1", "mps".
        bf16: whether convolutions and matrix products run in bfloat16 (autocast; weights stay float32).
        channels_last: whether images lie in memory with the channels innermost.
        matrices: whether convolutions over tiny maps run as matrix products (see `small_maps`).
        reason: one sentence about the choice, with what was measured.
    """

    device: str
    bf16: bool = False
    channels_last: bool = False
    matrices: bool = False
    reason: str = ""

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and 4-d weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module) -> nn.Module:
        """Move `network` to the device and layout, in place."""
        return network.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload, no-any-return]  # torch's stub lacks this combination

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The block in which the network's forward and backward passes run."""
        with ExitStack() as stack:
            if self.matrices:
                stack.enter_context(small_maps())
            if self.bf16:
                stack.enter_context(torch.autocast(self.device.split(":")[0], torch.bfloat16))
            yield

    def describe(self) -> str:
        """A few words for a person: `cpu, bf16, channels last, tiny maps as matrices`."""
        words = [self.device, "bf16" if self.bf16 else "fp32"]
        words += ["channels last"] if self.channels_last else []
        words += ["tiny maps as matrix products"] if self.matrices else []
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """For run.json, so that a resumed run computes the same way."""
        return asdict(self)


def choose_device(wanted: str = "auto") -> str:
    """The device to use: the one that is asked for, if it is there, else CUDA, MPS or the CPU."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted.split(":")[0], False):
        here = ", ".join(name for name, there in available.items() if there)
        raise InputError(f"device '{wanted}' is not here; this machine has: {here}")
    return wanted


def fixed_plan(device: str, precision: str) -> Plan:
    """The plan for a precision that was asked for: nothing is measured, so it is the same every time."""
    if precision == "fp32":
        return Plan(device, reason="asked for")
    return Plan(device, bf16=True, channels_last=True, matrices=device == "cpu", reason="asked for")


def _candidates(device: str) -> list[Plan]:
    if device == "cpu":
        # The likeliest first: what is clearly slower than the best so far is not measured to the end.
        flags = [(True, True, True), (True, True, False), (False, True, True), (False, False, False)]
        # Where bfloat16 is imitated, a single step takes longer than many in float32.
        return [Plan(device, *flag) for flag in flags if not flag[0] or bf16_share(device) < 1]
    half = not device.startswith("cuda") or torch.cuda.is_bf16_supported(including_emulation=False)
    plans = [Plan(device, bf16=True, channels_last=True), Plan(device, bf16=True)] if half else []
    return [*plans, Plan(device, channels_last=True), Plan(device)]


def choose_plan(
    device: str, loss_of: Callable[[], Tensor], network: nn.Module, set_layout: Callable[[Plan], None]
) -> Plan:
    """Measure a few training steps in each way of computing and take the fastest.

    Args:
        device: where to compute.
        loss_of: makes the loss of one batch; called inside `Plan.computing`.
        network: the network, whose gradients are cleared afterwards; the caller restores its buffers.
        set_layout: brings the network and the batch into a plan's layout.
    """
    measured: list[tuple[float, Plan]] = []
    for plan in _candidates(device):
        set_layout(plan)
        best = min((seconds for seconds, _ in measured), default=float("inf"))
        measured.append((_time_steps(plan, loss_of, network, give_up_at=1.3 * best), plan))
    seconds, chosen = min(measured, key=lambda pair: pair[0])
    others = "; ".join(f"{plan.describe()} {1000 * time:.0f} ms" for time, plan in measured if plan is not chosen)
    return replace(chosen, reason=f"{1000 * seconds:.0f} ms a step against {others}")


def remembered_plan(question: str, measure: Callable[[], Plan]) -> Plan:
    """What was measured for the same `question` on this machine before, else measure and remember it.

    Two trainings of the same thing then compute in the same way and give the same bits. Deleting `plans.json` in the
    cache folder forgets.
    """
    path = cache_folder() / "plans.json"
    key = hashlib.sha256(f"{question} {_machine()}".encode()).hexdigest()[:24]
    found = _plan_of(_plans(path), key)
    if found is not None:
        return found
    plan = measure()
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Another training may be remembering at this moment, perhaps the same: the first one counts, for both.
    with alone(path.parent, f"{path} is being written by another process; run the same command again", _PATIENCE):
        known = _plans(path)
        plan = _plan_of(known, key) or plan
        write_json(path, {**known, key: plan.as_dict()})
    return plan


def _plans(path: Path) -> dict[str, Any]:
    if path.is_file():
        with suppress(InputError):  # a damaged memory is measured anew
            known = read_json(path)
            return known if isinstance(known, dict) else {}
    return {}


def _plan_of(known: dict[str, Any], key: str) -> Plan | None:
    values = known.get(key)
    if isinstance(values, dict) and values.keys() == asdict(Plan("cpu")).keys():
        return Plan(**values)
    return None


def _machine() -> str:
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return f"{torch.__version__} {torch.get_num_threads()} {torch.backends.cpu.get_cpu_capability()} {accelerator}"


def _time_steps(plan: Plan, loss_of: Callable[[], Tensor], network: nn.Module, give_up_at: float) -> float:
    times = []
    for _ in range(1 + _PROBE_STEPS):
        start = time.perf_counter()
        with plan.computing():
            loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        loss.item()
        network.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
        if len(times) > 1 and min(times) > give_up_at:
            break
    return min(times[1:])


@contextmanager
def repeatable(threads: int | None = None) -> Iterator[None]:
    """The block in which a training computes, so that another one gives the same bits; what it sets is put back.

    Denormals are zero: numbers near 1e-40, as the momentum of a dead unit comes to, take a processor long and change
    nothing that is learnt. Torch sets this for the thread that asks, and threads that torch starts later take it on.

    Args:
        threads: how many threads compute, for the order of sums depends on it; None for as many as do now.
    """
    flushed, before = _are_denormals_zero(), torch.get_num_threads()
    wanted = threads or before
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    torch.set_flush_denormal(True)
    if wanted != before:
        torch.set_num_threads(wanted)
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()) if started else ()):
            yield
    finally:
        torch.set_flush_denormal(flushed)
        if wanted != before:
            torch.set_num_threads(before)


def _are_denormals_zero() -> bool:
    return float(torch.tensor(sys.float_info.min, dtype=torch.float64) / 2) == 0.0
