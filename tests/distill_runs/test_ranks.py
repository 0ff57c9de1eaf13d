from __future__ import annotations

from pathlib import Path

from distill_runs.ranks import joined
from tests.distill_runs.in_ranks import in_ranks
from tests.distill_runs.small_runs import looked_at


def test_two_ranks_draw_their_own_noise_and_take_the_same_steps(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    """Every family, two steps: the second is where DDP stops at a parameter that no gradient reached."""
    first, second = in_ranks(2, looked_at, random_models, squares, tmp_path)
    for family in random_models:
        one, other = first[family], second[family]
        assert one["noise"] != other["noise"]
        assert one["loss"] != other["loss"]
        assert one["grad_norms"] == other["grad_norms"]
        assert one["weights"] == other["weights"]
    assert first["all"] == second["all"] == [True, False]
    assert first["mean"] == second["mean"] == [1.5, 4.0]
    assert first["gathered"] == second["gathered"] == ["rank 0", "rank 1"]
    assert first["first"] == second["first"] == 0


def test_a_process_alone_joins_nobody() -> None:
    with joined() as ranks:
        assert (ranks.rank, ranks.world_size, ranks.first) == (0, 1, True)
        assert ranks.gathered("x") == ["x"]
        assert ranks.of_first("x") == "x"
        assert not ranks.all_true(False)
