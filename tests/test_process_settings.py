"""What holds for the whole process is the user's: the library leaves it as it was; the program alone sets it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coloured import write_images

# Glibc lays 64 MB into a mapping of their own, unless it was told to keep what is freed.
MAPPINGS = """
import ctypes, json, sys

class MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]


def mappings():
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = MallInfo
    before = library.mallinfo2().hblks
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    large = library.malloc(ctypes.c_size_t(1 << 26))
    found = library.mallinfo2().hblks - before
    library.free(large)
    return found
"""

SETTINGS = """
import random, signal, warnings

import numpy as np
import torch
from PIL import Image, ImageFile


def settings():
    return {
        "mappings of 64 MB": mappings(),
        "denormals are kept": float(torch.tensor(sys.float_info.min, dtype=torch.float64) / 2) > 0,
        "threads": torch.get_num_threads(),
        "fast attention": torch.backends.mha.get_fastpath_enabled(),
        "type": str(torch.get_default_dtype()),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": [torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic],
        "random": [hash(random.getstate()), str(np.random.get_state()), hash(bytes(torch.get_rng_state().numpy()))],
        "cut files": ImageFile.LOAD_TRUNCATED_IMAGES,
        "largest image": Image.MAX_IMAGE_PIXELS,
        # Of whole modules, or of all; what scipy and sympy add about single ones when they are imported is not ours.
        "warnings": [str(one) for one in warnings.filters if one[3] or (one[1] is None and one[2] is Warning)],
        "numpy": np.geterr(),
        "signals": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM)],
        "hooks": [sys.excepthook is sys.__excepthook__, sys.unraisablehook is sys.__unraisablehook__],
    }
"""

NETWORK = """
from torch import nn


def make(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(8, num_classes),
    )
"""

LIBRARY = """
torch.set_num_threads(2)
told = [settings()]
import cutaway
from cutaway.training import Interrupted, Watcher

data, runs, network = sys.argv[1:]
seen = []


class Short(Watcher):
    def epoch(self, line):
        seen.append([torch.get_num_threads(), settings()["denormals are kept"]])

    def enough(self):
        return bool(seen)


torch.set_num_threads(1)
try:
    cutaway.train(data, network, recipe={"epochs": 2}, runs=runs, name="run", device="cpu",
                  data_options={"size": 8}, watch=Short())
except Interrupted:
    torch.set_num_threads(2)
told.append(settings())
cutaway.resume(f"{runs}/run", watch=Short())
told.append(settings())
scope = cutaway.Scope(f"{runs}/run")
scope.feature_maps("test:0")
told.append(settings())
for method in ("grad-cam", "integrated-gradients", "occlusion"):
    scope.explain("test:0", method)
scope.layers()
cutaway.evaluate(f"{runs}/run", device="cpu")
told.append(settings())
print(json.dumps([told, seen, told[0]["random"]]))
"""


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")


def spoken(script: str, *arguments: str | Path, **environment: str) -> Any:
    """What a fresh process says that runs the script."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", MAPPINGS + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**own, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_library_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"red": (200, 60, 60), "green": (60, 200, 60)}, 12)
    (tmp_path / "net.py").write_text(NETWORK)
    places = tmp_path / "data", tmp_path / "runs", f"{tmp_path / 'net.py'}:make"
    told, seen, before = spoken(SETTINGS + LIBRARY, *places, CUTAWAY_CACHE=str(tmp_path / "cache"))
    # To build a network draws numbers, as it does in torch; training, which sets the seed at each step, does not show.
    assert [one.pop("random") for one in told][:3] == [before] * 3
    for later in told[1:]:
        assert later == told[0]
    # The run that began with one thread went on with one, in a process that has two.
    assert seen == [[1, False], [1, False]]


@glibc
@pytest.mark.parametrize(
    "program",
    [
        "from cutaway.cli.process import main\nsys.argv[1:] = ['recipe']",
        "from cutaway.web.serve import serve\nfrom cutaway.web.site import Site\n"
        "main = lambda: serve(Site('nowhere'), 0)",
    ],
    ids=["command line", "server"],
)
def test_a_program_keeps_what_is_freed(program: str) -> None:
    script = f"""
before = mappings()
{program}
try:
    main()
except BaseException as error:
    print(repr(error))
print(json.dumps([before, mappings()]))
"""
    assert spoken(script) == [1, 0]


@glibc
def test_who_has_a_setting_of_ones_own_keeps_it() -> None:
    script = "from cutaway.computing.process import set_up\nprint(json.dumps([set_up(), mappings()]))"
    assert spoken(script, MALLOC_ARENA_MAX="2") == [False, 1]
    assert spoken(script) == [True, 0]
