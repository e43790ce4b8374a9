"""Lenses: what is seen inside a network. They know torch, and nothing of files, runs or HTML."""

from cutaway.lenses.activations import ActivationStatistics, activation_statistics, feature_maps
from cutaway.lenses.capture import capture
from cutaway.lenses.snapshot import choose_channels, take_snapshot
from cutaway.lenses.weights import conv_names, gradients, kernels, layer_names, weight_names

__all__ = [
    "ActivationStatistics",
    "activation_statistics",
    "capture",
    "choose_channels",
    "conv_names",
    "feature_maps",
    "gradients",
    "kernels",
    "layer_names",
    "take_snapshot",
    "weight_names",
]
