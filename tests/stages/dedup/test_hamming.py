"""The Hamming join against comparing everything with everything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.dedup import hamming, hamming_plan
from stages.dedup.hamming import MAX_RADIUS, hamming_join
from store.errors import UsageError

Pairs = list[tuple[int, int, int]]
ROOT = Path(__file__).resolve().parents[3]


def brute_force(left: np.ndarray, right: np.ndarray | None, radius: int) -> Pairs:
    one, two = (
        np.array(sorted(set(values.tolist())), np.uint64)
        for values in (left, left if right is None else right)
    )
    distance = np.bitwise_count(one[:, None] ^ two[None, :])
    rows = zip(*np.nonzero(distance <= radius), strict=True)
    return [(int(one[i]), int(two[j]), int(distance[i, j])) for i, j in rows if right is not None or i < j]


def found(
    left: np.ndarray, right: np.ndarray | None, radius: int, scratch: Path, memory_bytes: int = 1 << 30
) -> Pairs:
    pairs = hamming_join(left, right, radius, str(scratch), memory_bytes)
    assert [column.dtype for column in pairs] == [np.uint64, np.uint64, np.int32]
    return list(zip(*(column.tolist() for column in pairs), strict=True))


def flipped(hashes: np.ndarray, bits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each hash with so many (int [n]) of its bits flipped."""
    order = np.argsort(rng.random((len(hashes), 64)), axis=1).astype(np.uint64)
    flips = (np.uint64(1) << order) * (np.arange(64) < bits[:, None])
    return np.asarray(hashes ^ np.bitwise_or.reduce(flips, axis=1))


def with_neighbors(rng: np.random.Generator, count: int, most: int = 14) -> np.ndarray:
    """Random hashes, each followed by a neighbor at a distance of 0 to ``most``."""
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    return np.concatenate([hashes, flipped(hashes, rng.integers(0, most + 1, count), rng)])


WAYS = ("few", "many", "tables")


@contextmanager
def way(name: str) -> Iterator[None]:
    """Joins as few hashes are joined, all compared; as many; or as many in tables whatever that costs."""
    with pytest.MonkeyPatch.context() as patch:
        if name != "few":
            patch.setattr(hamming, "SMALL", 0)
        if name == "tables":
            patch.setattr(hamming_plan, "_STRAIGHT_COMPARE_NS", 1e12)
        hamming_plan._plan.cache_clear()
        yield
    hamming_plan._plan.cache_clear()


@pytest.fixture(params=WAYS)
def every_way(request: pytest.FixtureRequest) -> Iterator[None]:
    with way(request.param):
        yield


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize("radius", range(MAX_RADIUS + 1))
def test_finds_every_pair_within_the_radius_once(radius: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(radius)
    left, right = with_neighbors(rng, 500), with_neighbors(rng, 300)
    right = np.concatenate([right, flipped(left[:400], rng.integers(0, 14, 400), rng)])
    assert found(left, right, radius, tmp_path) == brute_force(left, right, radius)
    assert found(left, None, radius, tmp_path) == brute_force(left, None, radius)


@pytest.mark.parametrize(("count", "radius"), [(50_000, 4), (300_000, 6), (50_000, 8), (20_000, 12)])
def test_plans_for_larger_inputs_miss_nothing(
    count: int, radius: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hamming, "SMALL", 0)
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = flipped(hashes[:2000], np.arange(2000) % radius + 1, rng)
    together = set(found(np.concatenate([hashes, copies]), None, radius, tmp_path))
    crossed = set(found(hashes, copies, radius, tmp_path))
    for one, two in zip(hashes[:2000].tolist(), copies.tolist(), strict=True):
        distance = (one ^ two).bit_count()
        assert (min(one, two), max(one, two), distance) in together
        assert (one, two, distance) in crossed


word = st.integers(0, 2**64 - 1)
close = st.builds(
    lambda base, bits: base ^ sum({1 << b for b in bits}),
    st.sampled_from([0, 2**63, 0x5555, 2**64 - 1]),
    st.lists(st.integers(0, 63), max_size=8),
)
hashes = st.lists(word | close, max_size=40)


@settings(max_examples=60, deadline=None)
@given(hashes, hashes | st.none(), st.integers(0, MAX_RADIUS), st.sampled_from(WAYS))
def test_equals_brute_force_on_any_hashes(
    tmp_path_factory: pytest.TempPathFactory,
    left: list[int],
    right: list[int] | None,
    radius: int,
    how: str,
) -> None:
    one, two = np.array(left, np.uint64), None if right is None else np.array(right, np.uint64)
    with way(how):
        pairs = found(one, two, radius, tmp_path_factory.getbasetemp())
    assert pairs == brute_force(one, two, radius)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 64), st.integers(0, MAX_RADIUS), st.floats(0.02, 0.5))
def test_equals_brute_force_where_few_bits_tell_hashes_apart(
    tmp_path_factory: pytest.TempPathFactory, seed: int, free: int, radius: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    bits = (rng.random((300, 64)) < share) & (rng.permutation(64) < free)
    values = np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64) ^ np.uint64(seed)
    scratch = tmp_path_factory.getbasetemp()
    for left, right in ((values, None), (values[:200], values[100:])):
        with way("tables"):
            pairs = found(left, right, radius, scratch)
        assert pairs == brute_force(left, right, radius)


@pytest.mark.usefixtures("every_way")
def test_a_hash_that_everyone_has_is_one_pair(tmp_path: Path) -> None:
    hub = np.full(200_000, 0x8000000000000000, np.uint64)
    assert found(hub, hub, 6, tmp_path) == [(2**63, 2**63, 0)]
    assert found(hub, None, 6, tmp_path) == []


@pytest.mark.usefixtures("every_way")
@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 5), (5, 0), (1, 1), (1, 0), (1, 2)])
def test_none_or_one_hash(left: int, right: int, tmp_path: Path) -> None:
    one, two = np.arange(left, dtype=np.uint64), np.arange(right, dtype=np.uint64)
    assert found(one, two, 3, tmp_path) == brute_force(one, two, 3)
    assert found(one, None, 3, tmp_path) == brute_force(one, None, 3)


@pytest.mark.usefixtures("every_way")
def test_order_and_repetition_of_the_input_do_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = with_neighbors(rng, 1000)
    before = values.copy()
    pairs = found(values, values, 6, tmp_path)
    assert found(rng.permutation(values), np.repeat(values, 3)[::-1], 6, tmp_path) == pairs
    alone = found(values, None, 6, tmp_path)
    assert found(np.repeat(rng.permutation(values), 2), None, 6, tmp_path) == alone
    assert (values == before).all(), "the caller's array is left as it was"


def test_number_of_threads_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "SMALL", 0)
    values = with_neighbors(np.random.default_rng(3), 30_000, most=6)
    answers = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(hamming, "_threads", lambda threads=threads: threads)
        answers.append(found(values, None, 6, tmp_path))
    assert len(answers[0]) > 25_000
    assert answers[0] == sorted(answers[0]) == answers[1] == answers[2]


def test_threads_heed_what_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cpus = hamming._threads()
    assert cpus >= 1
    for allowed, threads in (("1", 1), ("100000", cpus), ("0", cpus), ("many", cpus)):
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        assert hamming._threads() == threads


@pytest.mark.usefixtures("every_way")
def test_pairs_beyond_the_memory_go_to_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    base = rng.integers(0, 2**64, 20, dtype=np.uint64)
    cluster = flipped(np.repeat(base, 150), rng.integers(0, 4, 3000), rng)
    in_memory = hamming_join(cluster, cluster, 7, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    spilled = hamming_join(cluster, cluster, 7, str(tmp_path), memory_bytes=1)
    assert len(in_memory.left) > 3 * 65_536
    assert isinstance(spilled.left, np.memmap)
    for one, two in zip(in_memory, spilled, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
    assert len(list(tmp_path.iterdir())) == 3


def test_few_hashes_load_no_compiler() -> None:
    code = (
        "import sys, numpy as np\n"
        "from stages.dedup.hamming import hamming_join\n"
        "values = np.random.default_rng(0).integers(0, 2**64, 3000, dtype=np.uint64)\n"
        "hamming_join(values, np.concatenate([values] * 12), 6, '.')\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("radius", [-1, 13])
def test_a_senseless_radius_is_refused(radius: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"radius is {radius}; expected 0 to 12"):
        hamming_join(np.zeros(1, np.uint64), np.zeros(1, np.uint64), radius, str(tmp_path))
