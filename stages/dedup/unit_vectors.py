"""Embeddings as whole numbers, so that every product of two is exact.

A vector is scaled to a length just under 4096 and rounded. By Cauchy and Schwarz no partial sum of a product
of two such vectors leaves 2^24, and float32 holds every whole number up to there. So a matrix product is
the same in whatever order it is summed: on any number of threads, in any blocks, on any machine.
A cosine moves by 1e-4 (standard deviation), less than storing the embedding as float16 moves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import MashbillError, UsageError

LENGTH = 4096
_ROWS_AT_ONCE = 16384


@dataclass(frozen=True)
class UnitVectors:
    """int16 [n, d] ``numbers``, each row of a length within ``sqrt(d) / 2`` of ``scale(d)``."""

    numbers: np.ndarray

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """float32 [n, d] of some rows: whole numbers."""
        return np.asarray(self.numbers[rows].astype(np.float32))

    def least_product(self, cosine: float) -> float:
        """No two vectors with this cosine or a larger one have a smaller product."""
        width = self.numbers.shape[1]
        return cosine * (scale(width) - np.sqrt(width) / 2) ** 2 if cosine > 0 else -np.inf


def scale(width: int) -> float:
    """The length that vectors of ``width`` numbers are scaled to: rounded, they stay under ``LENGTH``."""
    return LENGTH - float(np.sqrt(width)) / 2


def rounded(vectors: np.ndarray) -> np.ndarray:
    """int16 of float64 [n, d], scaled; rows of zeros or of what is no number stay zeros."""
    length = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    usable = np.isfinite(length) & (length > 0)
    share = np.divide(vectors, length, out=np.zeros_like(vectors), where=usable)
    return np.asarray(np.rint(share * scale(vectors.shape[1])), np.int16)


def unit_vectors(rows: pa.Table, column: str, places: np.ndarray) -> UnitVectors:
    """The vectors of a column of lists; the one of row i stands at ``places[i]``, null ones nowhere.

    Raises:
        UsageError: the column holds no lists of numbers.
        MashbillError: lists of several lengths, or one without a direction (zeros, NaN, null in it).
    """
    kind = rows.schema.field(column).type
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) or not _is_number(kind.value_type):
        raise UsageError(f"column {column} holds {kind}; an embedding is a list of floats")
    numbers, start = np.empty((0, 0), np.int16), 0
    for batch in rows.select(["sample_id", column]).to_batches(_ROWS_AT_ONCE):
        batch_places, start = places[start : start + batch.num_rows], start + batch.num_rows
        batch = batch.filter(batch[column].is_valid())
        if batch.num_rows:
            vectors = _vectors(batch, column, numbers.shape[1])
            if not numbers.size:
                numbers = np.empty((int(places.max()) + 1, vectors.shape[1]), np.int16)
            numbers[batch_places[batch_places >= 0]] = vectors
    return UnitVectors(numbers)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _vectors(batch: pa.RecordBatch, column: str, width: int) -> np.ndarray:
    """int16 [n, d] of lists that are all there; ``width`` is the expected d, 0 for any."""
    lengths = pc.list_value_length(batch[column]).to_numpy(zero_copy_only=False)
    width = width or int(lengths[0])
    if (lengths != width).any():
        odd = int(np.flatnonzero(lengths != width)[0])
        raise MashbillError(
            f"column {column}: sample {batch['sample_id'][odd]} has {lengths[odd]} numbers, others {width}. "
            "One column holds the embeddings of one model."
        )
    flat = batch[column].flatten().to_numpy(zero_copy_only=False)
    whole = rounded(flat.astype(np.float64).reshape(len(lengths), width))
    if not whole.any(axis=1).all():
        odd = int(np.flatnonzero(~whole.any(axis=1))[0])
        raise MashbillError(
            f"column {column}: the embedding of sample {batch['sample_id'][odd]} is all zeros or holds "
            "what is no number. Write null where there is no embedding."
        )
    return whole
