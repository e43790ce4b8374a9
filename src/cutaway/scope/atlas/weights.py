"""The kernel of every unit, and the strongest weights into it and out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cutaway.lenses.connections import Connections, Strongest
from cutaway.lenses.wiring import Wires, wiring
from cutaway.runs.atlas import Arrays
from cutaway.scope.atlas.job import Job

INPUTS = 16  # slices of a kernel
STRONGEST = 12  # weights on each side


def write_weights(job: Job) -> None:
    """The weights of all layers that have any."""
    missing = job.missing("weights")
    if not missing:
        return
    wires = wiring(job.subject.network, job.scanner.image(0))
    connections = Connections(job.subject.network, wires)
    for layer in missing:
        if connections.has_kernels(layer):
            arrays, total = _arrays(connections, layer)
            check = {"inputs": total, "followed": _followed(wires[layer])}
            certificate = job.certificate("weights", {"slices": INPUTS, "strongest": STRONGEST}, check)
            about = {"layers": connections.names, "wires": _plain(wires[layer]), "inputs": total}
            job.write("weights", layer, arrays, {**about, "certificate": certificate})


def _followed(wires: Wires) -> int:
    """How many inputs of a layer are known to come from which unit."""
    return len({number for wire in wires for number in range(wire.first, wire.stop)})


def _arrays(connections: Connections, layer: str) -> tuple[Arrays, int]:
    kernels = connections.kernels(layer, INPUTS)
    arrays = {
        "kernel.values": kernels.values.numpy(),
        "kernel.inputs": kernels.inputs.int().numpy(),
        "kernel.norm": kernels.norms.numpy(),
        **_side("in", connections.incoming(layer, STRONGEST)),
        **_side("out", connections.outgoing(layer, STRONGEST)),
    }
    return arrays, kernels.total


def _side(name: str, found: Strongest) -> Arrays:
    return {
        f"{name}.layers": found.layers.int().numpy(),
        f"{name}.channels": found.channels.int().numpy(),
        f"{name}.weights": found.weights.numpy(),
        f"{name}.norms": found.norms.numpy(),
    }


def _plain(wires: Wires) -> list[Mapping[str, Any]]:
    names = ("source", "first", "start", "channels", "repeat")
    return [{name: getattr(wire, name) for name in names} for wire in wires]
