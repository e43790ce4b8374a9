"""Random numbers that are a pure function of their names: a counter, hashed, instead of a state that moves on.

The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood, 2014). It exists three times, for Python integers, NumPy
and torch, and the three agree to the last bit on every device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

UInts = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]


def mix(value: int) -> int:
    """The 64-bit hash of one integer, which is taken modulo 2**64."""
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def key(*parts: int) -> int:
    """One 64-bit key for a chain of integers such as (seed, epoch, stream)."""
    result = 0
    for part in parts:
        result = mix(result ^ mix(part))
    return result


def hash_array(chain: int, counters: np.ndarray) -> UInts:
    """`mix(chain + counter)` for every counter; uint64, the shape of `counters`."""
    with np.errstate(over="ignore"):
        value = counters.astype(np.uint64) + np.uint64((chain + _STEP) & _MASK)
        value ^= value >> np.uint64(30)
        value *= np.uint64(_FIRST)
        value ^= value >> np.uint64(27)
        value *= np.uint64(_SECOND)
        value ^= value >> np.uint64(31)
    return value


def hash_tensor(chain: int, counters: Tensor) -> Tensor:
    """`mix(chain + counter)` for every counter: the same 64 bits in an int64 tensor on the counters' device."""
    value = counters + _signed(chain + _STEP)
    value = (value ^ _shift(value, 30)) * _signed(_FIRST)
    value = (value ^ _shift(value, 27)) * _signed(_SECOND)
    return value ^ _shift(value, 31)


def uniform_array(chain: int, counters: np.ndarray) -> np.ndarray:
    """A float64 in [0, 1) for every counter."""
    return (hash_array(chain, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_tensor(chain: int, counters: Tensor) -> Tensor:
    """A float32 in [0, 1) for every counter, exact in 24 bits, so every device gives the same."""
    return _shift(hash_tensor(chain, counters), 40).to(torch.float32) * 2.0**-24


def below_tensor(chain: int, counters: Tensor, bound: int) -> Tensor:
    """An int64 in 0 ... bound - 1 for every counter; `bound` is less than 2**31."""
    return (_shift(hash_tensor(chain, counters), 33) * bound) >> 31


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(value: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask clears the copies of the sign bit.
    return (value >> bits) & ((1 << (64 - bits)) - 1)
