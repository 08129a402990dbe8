"""Pack weight tables into small integers where that is lossless.

If all values of a row are integer multiples of one power of two, with factors up to 127, the row is stored as the
exponent and one byte per value. If factors up to 7 are enough, it takes half a byte per value. A table `wide.weight`
that has only rows of these kinds becomes four tensors:

    wide.weight.exponents   (rows,) int8: the exponent of each row
    wide.weight.short       (rows / 8,) uint8: one bit per row, highest bit first: 1 if the row is stored in half bytes
    wide.weight.bytes       (long rows, width) int8
    wide.weight.halves      (short rows, width / 2) uint8: the first value is the lower half, in two's complement
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_FIELDS: Mapping[str, type[np.integer]] = {
    "exponents": np.int8, "short": np.uint8, "bytes": np.int8, "halves": np.uint8
}  # fmt: skip

BITS, SHORT_BITS = 7, 3  # bits of a value, without its sign

LOWEST, HIGHEST = -126, 120  # exponents: 2^LOWEST is float32's smallest normal number, 2^HIGHEST times a byte is finite

Floats = NDArray[np.float32]


def pack(weights: Arrays, tables: Collection[str]) -> dict[str, NDArray[Any]]:
    """Pack tables of weights.

    Args:
        weights: Arrays by name.
        tables: The names of the arrays to pack. Those that can't be packed without loss stay as they are.

    Returns:
        The arrays to save, by name.
    """
    packed: dict[str, NDArray[Any]] = {}
    for name, weight in weights.items():
        fields = _pack(weight) if name in tables else None
        if fields is None:
            packed[name] = weight
        else:
            packed |= {f"{name}.{field}": array for field, array in fields.items()}
    return packed


def unpack(packed: Arrays, tables: Collection[str]) -> dict[str, NDArray[Any]]:
    """Restore the weights that `pack` was given, bit for bit.

    Args:
        packed: Arrays by name, as saved.
        tables: The names of the arrays that may be packed.

    Returns:
        The weights by name.

    Raises:
        ValueError: If the tensors of a table are missing or don't fit each other.
    """
    weights = dict(packed)
    for name in tables:
        if f"{name}.exponents" in weights:
            weights[name] = _unpack(name, {field: _pop_field(weights, name, field) for field in _FIELDS})
    return weights


def powers_of_two(exponents: NDArray[np.integer]) -> Floats:
    """Compute exact powers of two.

    Args:
        exponents: (rows,) integers.

    Returns:
        (rows, 1): 2 to the power of each exponent.
    """
    return np.ldexp(np.float32(1), exponents.astype(np.int32))[:, None]


def finest_exponents(table: Floats, bits: int) -> NDArray[np.int32]:
    """Find the lowest exponent for each row with which its largest value, rounded down, fits in `bits` bits.

    Args:
        table: (rows, width).
        bits: The bits of a value, without its sign.

    Returns:
        (rows,) exponents of 2, from LOWEST to HIGHEST.
    """
    exponents: NDArray[np.int32] = np.frexp(np.abs(table).max(axis=1, initial=0))[1] - bits
    return np.clip(exponents, LOWEST, HIGHEST)


def _pack(table: NDArray[Any]) -> dict[str, NDArray[np.integer]] | None:
    """Split a table into its fields; None if they couldn't restore it bit for bit."""
    if table.dtype != np.float32 or table.ndim != 2 or not table.size:
        return None
    if not np.isfinite(table).all():
        return None
    exponents, numbers, fits = _numbers(table, BITS)
    if not fits.all():
        return None
    short_exponents, short_numbers, short = _numbers(table, SHORT_BITS)
    fields = {
        "exponents": np.where(short, short_exponents, exponents).astype(np.int8),
        "short": np.packbits(short),
        "bytes": numbers[~short].astype(np.int8),
        "halves": _halves(short_numbers[short].astype(np.int8)),
    }
    # Numbers may be equal and their bits differ: negative zero.
    return fields if np.array_equal(_restore(fields).view(np.int32), table.view(np.int32)) else None


def _numbers(table: Floats, bits: int) -> tuple[NDArray[np.int32], Floats, NDArray[np.bool_]]:
    """Compute each row's finest exponent, its values as multiples of that power, and whether all are integers."""
    exponents = finest_exponents(table, bits)
    numbers = table * powers_of_two(-exponents)
    return exponents, numbers, ((numbers == np.rint(numbers)) & (np.abs(numbers) < 1 << bits)).all(axis=1)


def _halves(numbers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack rows of numbers from -8 to 7, two per byte."""
    low = (numbers & 15).astype(np.uint8)
    if low.shape[1] % 2:
        low = np.pad(low, ((0, 0), (0, 1)))
    return np.ascontiguousarray(low[:, 0::2] | low[:, 1::2] << 4)


def _pop_field(weights: dict[str, NDArray[Any]], name: str, field: str) -> NDArray[np.integer]:
    array = weights.pop(f"{name}.{field}", None)
    if array is None or array.dtype != _FIELDS[field]:
        found = "none" if array is None else f"one of {array.dtype}"
        raise ValueError(f"{name}.{field}: found {found}, expected a tensor of {np.dtype(_FIELDS[field])}")
    return array


def _unpack(name: str, fields: dict[str, NDArray[np.integer]]) -> Floats:
    exponents, short, numbers, halves = (fields[field] for field in _FIELDS)
    if exponents.ndim != 1 or short.shape != (-(-len(exponents) // 8),) or numbers.ndim != 2:
        raise ValueError(f"{name}: found exponents {exponents.shape}, short {short.shape}, bytes {numbers.shape}")
    count = int(np.unpackbits(short.view(np.uint8), count=len(exponents)).sum())
    expected = (len(exponents) - count, numbers.shape[1]), (count, -(-numbers.shape[1] // 2))
    if (numbers.shape, halves.shape) != expected:
        raise ValueError(f"{name}: found bytes {numbers.shape} and halves {halves.shape}, expected {expected}")
    if len(exponents) and not LOWEST <= exponents.min() <= exponents.max() <= HIGHEST:
        raise ValueError(f"{name}.exponents: found {exponents.min()} to {exponents.max()}, beyond float32")
    return _restore(fields)


def _restore(fields: Mapping[str, NDArray[np.integer]]) -> Floats:
    exponents, packed, long, halves = (fields[field] for field in _FIELDS)
    short = np.unpackbits(packed.view(np.uint8), count=len(exponents)).astype(bool)
    numbers = np.empty((len(exponents), long.shape[1]), dtype=np.int8)
    numbers[~short] = long
    # Shifting up and down again extends the sign of a half byte.
    pairs = np.stack((halves.view(np.int8) << 4 >> 4, halves.view(np.int8) >> 4), axis=2)
    numbers[short] = pairs.reshape(len(halves), 2 * halves.shape[1])[:, : long.shape[1]]
    table = numbers.astype(np.float32)
    table *= powers_of_two(exponents)
    return table
