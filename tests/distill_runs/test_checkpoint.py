"""What was interrupted goes on as if it had not been, whatever happened to the files."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_runs.checkpoint import load_checkpoint, save_checkpoint
from distill_runs.settings import Ema
from store.errors import MashbillError
from tests.distill_runs.in_ranks import in_ranks
from tests.distill_runs.small_runs import (
    ALONE,
    all_from_one,
    digest,
    everything,
    save_and_die,
    save_numbered,
    save_with_little_room,
    small_run,
    staged,
    steps_in_ranks,
    take,
    trainer_of,
    two_stages,
)


@pytest.fixture(scope="module")
def straight(random_models: dict[str, Path], squares: Path, tmp_path_factory: Any) -> Callable[[str], Any]:
    """All that two stages come to without a pause, by family."""
    made: dict[str, Any] = {}

    def of(family: str) -> Any:
        if family not in made:
            run = two_stages(small_run(random_models[family]))
            with trainer_of(run, squares, tmp_path_factory.mktemp("straight")) as trainer:
                trainer.start()
                rows = take(trainer, run.steps)
                made[family] = everything(trainer) | digest(rows)
        return made[family]

    return of


@pytest.mark.parametrize(
    ("family", "first"), [("pixart", 2), ("pixart", 3), ("pixart", 5), ("unet", 5), ("sd3", 3)]
)
def test_a_run_that_was_interrupted_is_bitwise_the_run_that_was_not(
    family: str, first: int, random_models: dict[str, Path], squares: Path, tmp_path: Path, straight: Any
) -> None:
    """Inside the first stage, at the boundary, inside the second."""
    run = two_stages(small_run(random_models[family]))
    with trainer_of(run, squares, tmp_path) as trainer:
        assert trainer.start() is None
        rows = take(trainer, first)
        trainer.save()
    with trainer_of(run, squares, tmp_path) as trainer:
        assert trainer.start() == f"going on from step {first}"
        rows += take(trainer, run.steps - first)
        assert everything(trainer) | digest(rows) == straight(family)


def test_a_stage_that_begins_with_the_average_has_the_average(
    random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    begun = {}
    for begin_with in ("student", "average"):
        run = small_run(random_models["pixart"], ema=Ema(decay=0.5, warm=False))
        run = staged(run, {"steps": 2}, {"steps": 1, "begin_with": begin_with})
        with trainer_of(run, squares, tmp_path / begin_with) as trainer:
            trainer.start()
            take(trainer, 2)
            assert trainer.average is not None
            average = digest(trainer.average.shadow)
            own = digest(trainer.roles["student"].weights())
            trainer._enter(*[run.stages[1], None])
            trainer._begin(run.stages[1])
            begun[begin_with] = digest(trainer.roles["student"].weights()), own, average
    assert begun["student"][0] == begun["student"][1] != begun["student"][2]
    assert begun["average"][0] == begun["average"][2] != begun["average"][1]


@pytest.mark.parametrize(
    "first", [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)]
)
def test_two_ranks_that_were_interrupted(
    first: int, random_models: dict[str, Path], squares: Path, tmp_path: Path
) -> None:
    run = two_stages(small_run(random_models["pixart"]))
    ranks = in_ranks(2, steps_in_ranks, run, squares, tmp_path, first)
    for rank in ranks:
        assert rank["straight"] == rank["resumed"]
    shared, *others = ({k: v for k, v in r["straight"].items() if k.startswith("/roles")} for r in ranks)
    assert others == [shared]
    assert ranks[0]["straight"]["/noise"] != ranks[1]["straight"]["/noise"]


def test_one_rank_goes_on_as_two(random_models: dict[str, Path], squares: Path, tmp_path: Path) -> None:
    run = small_run(random_models["pixart"])
    with trainer_of(run, squares, tmp_path) as trainer:
        trainer.start()
        take(trainer, 2)
        trainer.save()
    said = in_ranks(2, all_from_one, run, squares, tmp_path)
    assert said[0] == said[1]
    assert said[0].startswith(
        "going on from step 2, on 2 ranks instead of 1: an update now stands on 2 times"
    )


def newest(folder: Path) -> int | None:
    found = load_checkpoint(folder, ALONE)
    return None if found is None else found[0]["step"]


@pytest.mark.parametrize(
    ("event", "name"),
    [
        ("open", "rank-00000.pt"),
        ("open", "state.pt"),
        ("open", "checkpoint.json"),
        ("os.rename", "step-00000003.partial"),
    ],
)
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    event: str, name: str, tmp_path: Path, capfd: Any
) -> None:
    save_numbered(tmp_path, 1)
    save_numbered(tmp_path, 2)
    assert in_ranks(1, save_and_die, tmp_path, 3, event, name) == ["died"]
    assert newest(tmp_path) == 2
    assert capfd.readouterr().err == ""
    save_numbered(tmp_path, 3)
    assert newest(tmp_path) == 3
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]


def test_a_kill_while_an_old_checkpoint_is_removed(tmp_path: Path) -> None:
    save_numbered(tmp_path, 1)
    save_numbered(tmp_path, 2)
    assert in_ranks(1, save_and_die, tmp_path, 3, "shutil.rmtree", "step-00000001") == ["died"]
    assert newest(tmp_path) == 3


def damage_a_byte(path: Path) -> None:
    data = bytearray((path / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "state.pt").write_bytes(data)


def cut(path: Path) -> None:
    (path / "rank-00000.pt").write_bytes((path / "rank-00000.pt").read_bytes()[:-10])


def lose_a_rank(path: Path) -> None:
    (path / "rank-00000.pt").unlink()


def lose_the_note(path: Path) -> None:
    (path / "checkpoint.json").unlink()


def change_the_note(path: Path) -> None:
    note = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps(note | {"world_size": 2}))


@pytest.mark.parametrize("harm", [damage_a_byte, cut, lose_a_rank, lose_the_note, change_the_note])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    harm: Callable[[Path], None], tmp_path: Path, capfd: Any
) -> None:
    save_numbered(tmp_path, 1)
    save_numbered(tmp_path, 2)
    harm(tmp_path / "checkpoints" / "step-00000002")
    assert newest(tmp_path) == 1
    said = capfd.readouterr().err
    assert "step-00000002 is damaged (" in said
    assert "looking at the one before" in said
    save_numbered(tmp_path, 2)
    assert newest(tmp_path) == 2


def test_where_every_checkpoint_is_damaged_nothing_is_begun_anew(tmp_path: Path, capfd: Any) -> None:
    assert newest(tmp_path) is None
    save_numbered(tmp_path, 1)
    damage_a_byte(tmp_path / "checkpoints" / "step-00000001")
    with pytest.raises(MashbillError, match=r"every checkpoint is damaged: .*step-00000001"):
        newest(tmp_path)
    assert "step-00000001 is damaged (state.pt changed)" in capfd.readouterr().err


def test_a_later_checkpoint_that_is_damaged_does_not_push_out_new_ones(tmp_path: Path, capfd: Any) -> None:
    for step in (1, 8, 9):
        save_numbered(tmp_path, step)
    for step in (8, 9):
        (tmp_path / "checkpoints" / f"step-0000000{step}").rename(tmp_path / f"step-0000000{step}")
    save_numbered(tmp_path, 1)
    for step in (8, 9):
        (tmp_path / f"step-0000000{step}").rename(tmp_path / "checkpoints" / f"step-0000000{step}")
        damage_a_byte(tmp_path / "checkpoints" / f"step-0000000{step}")
    save_numbered(tmp_path, 2)
    assert newest(tmp_path) == 2
    assert "step-00000009 is damaged" in capfd.readouterr().err


@pytest.mark.parametrize("limit_bytes", [1_000, 20_000])
def test_a_limit_on_file_size_is_one_message_and_no_half_checkpoint(limit_bytes: int, tmp_path: Path) -> None:
    save_numbered(tmp_path, 1)
    (said,) = in_ranks(1, save_with_little_room, tmp_path, 2, limit_bytes)
    assert said.startswith("MashbillError: the checkpoint of step 2 could not be written to ")
    assert "Make room there and run the same command again" in said
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert newest(tmp_path) == 1


def can_mount() -> bool:
    try:
        probe = "mount -t tmpfs tmpfs /mnt"
        return subprocess.run(["unshare", "-rm", "sh", "-c", probe], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="may not mount a small disk here; the limit above stands in")
def test_a_full_disk_is_one_message_and_no_half_checkpoint(tmp_path: Path) -> None:
    disk, script = tmp_path / "disk", tmp_path / "save.py"
    disk.mkdir()
    script.write_text(
        "import sys; from pathlib import Path; import torch\n"
        "from distill_runs.checkpoint import save_checkpoint; from distill_runs.ranks import Ranks\n"
        "state = {'net': torch.ones(10_000)}\n"
        "save_checkpoint(Path(sys.argv[1]), int(sys.argv[2]), state, {}, Ranks(0, 1, torch.device('cpu')))\n"
    )
    save = shlex.join([sys.executable, str(script), str(disk)])
    lines = [f"mount -t tmpfs -o size=72k tmpfs {disk}", f"{save} 1", f"if {save} 2; then exit 9; fi"]
    lines += [f"find {disk} -type f"]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-ec", "\n".join(lines)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "MashbillError: the checkpoint of step 2 could not be written" in done.stderr
    files = sorted(Path(line).parent.name for line in done.stdout.splitlines())
    assert files == ["step-00000001"] * 3


def test_a_checkpoint_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(MashbillError, match="the checkpoint of step 7 could not be written"):
        save_checkpoint(tmp_path, 7, {}, {}, ALONE)
