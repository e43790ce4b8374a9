"""The graph that a pass left behind, checked for derivatives that are no rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from cutaway.computing.torch_inside import inputs_of, node_name
from cutaway.errors import InputError

# Nodes of autograd that only move values or add them up with fixed weights: there the derivative is the rule.
_LINEAR = """
View UnsafeView Reshape ReshapeAlias Permute Transpose T Unsqueeze Squeeze Expand Slice Select Split
SplitWithSizes UnsafeSplit Unbind Index IndexSelect Gather Cat Stack Clone Copy CopyBackwards CopySlices ToCopy Alias
AsStrided AsStridedScatter ConstantPadNd ReflectionPad1D ReflectionPad2D ReplicationPad1D ReplicationPad2D Roll Flip
Repeat Diagonal Unfold UnfoldBackward Im2Col Col2Im PixelShuffle PixelUnshuffle ChannelShuffle NativeChannelShuffle
Convolution Linear Addmm Mm Bmm Mv Addmv Baddbmm AvgPool2D AvgPool3D AdaptiveAvgPool2D AdaptiveAvgPool3D
MkldnnAdaptiveAvgPool2D Mean Sum UpsampleNearest1D UpsampleNearest2D UpsampleNearestExact2D UpsampleBilinear2D
UpsampleBilinear2DAa UpsampleBicubic2D UpsampleLinear1D MaskedFill
Where Add Sub Rsub Neg Mul Div Scatter IndexPut IndexPutImpl SelectScatter SliceScatter Lift Detach Fill
"""
# Nodes where the winner takes all.
MAXIMA = """
MaxPool2DWithIndices MaxPool3DWithIndices AdaptiveMaxPool2D AdaptiveMaxPool3D Max Min Maximum Minimum Amax
Amin MaxPool1D MaxPool2D MkldnnMaxPool2D Topk Sort
"""
# Which inputs of these nodes may not all depend on the image: then they multiply, and a derivative is no rule.
_FACTORS = {"Mul": (0, 1), "Div": (None, 1), "Mm": (0, 1), "Bmm": (0, 1), "Mv": (0, 1), "Addmm": (1, 2)}
_FACTORS |= {"Baddbmm": (1, 2), "Addmv": (1, 2), "Convolution": (0, 1), "Linear": (0, 1)}


def check_graph(score: Tensor, lens: str, also: str = "") -> None:
    """Refuse a graph with a node whose derivative is not this lens's rule.

    Args:
        score: what the pass gave.
        lens: what the user calls the method.
        also: nodes whose derivative is this lens's rule, besides the linear ones: `MAXIMA`.

    Raises:
        InputError: names the operation, or says that the score does not depend on the image.
    """
    if not score.requires_grad:
        raise InputError(
            f"{lens} found no way from the score back to the image: it passes only through a softmax or something "
            "detached; explain the logits, not the probabilities"
        )
    allowed = {*_LINEAR.split(), *also.split()}
    for node in _nodes(score):
        name = node_name(node)
        if name in ("Ruled", "AccumulateGrad"):
            continue
        if name not in allowed or _multiplies(node, name):
            raise InputError(f"{lens} has no rule for the operation '{name}' of this network; choose another method")


def _nodes(score: Tensor) -> Iterator[Any]:
    seen, waiting = set(), [score.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting.extend(inputs_of(node))


def _multiplies(node: Any, name: str) -> bool:
    given = [following is not None for following in inputs_of(node)]
    return name in _FACTORS and all(place is None or (place < len(given) and given[place]) for place in _FACTORS[name])
