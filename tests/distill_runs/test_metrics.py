from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyarrow import parquet
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from distill_runs.metrics import Metrics

ROWS = [
    {"step": 1, "loss/task": 0.5, "learning_rate/student": 1e-3},
    {"step": 2, "loss/task": 0.25, "learning_rate/student": 1e-3},
    {"step": 2, "validation/loss": 0.75},
]


def events(folder: Path) -> list[Event]:
    """Every event, file by file in order of age; the checksums of each record are tested."""
    found = []
    for file in sorted((folder / "events").iterdir()):
        data, place = file.read_bytes(), 0
        while place < len(data):
            header, length = data[place : place + 8], int.from_bytes(data[place : place + 8], "little")
            record = data[place + 12 : place + 12 + length]
            assert int.from_bytes(data[place + 8 : place + 12], "little") == masked_crc32c(header)
            end = place + 12 + length
            assert int.from_bytes(data[end : end + 4], "little") == masked_crc32c(record)
            found.append(Event.FromString(record))
            place = end + 4
    return found


def shown(folder: Path) -> dict[tuple[str, int], float]:
    """What TensorBoard shows: a start of a session takes away what is at its step and later."""
    values: dict[tuple[str, int], float] = {}
    for event in events(folder):
        if event.session_log.status == event.session_log.START:
            values = {(tag, step): v for (tag, step), v in values.items() if step < event.step}
        for value in event.summary.value:
            values[value.tag, event.step] = value.simple_value
    return values


def in_lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def written(folder: Path, rows: list[dict[str, float]], step: int = 0) -> None:
    metrics = Metrics(folder, step)
    for row in rows:
        metrics.add(row)
    metrics.write_table()
    metrics.close()


def test_lines_table_and_events_hold_the_same(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    assert in_lines(tmp_path) == ROWS
    table = parquet.read_table(tmp_path / "metrics.parquet").to_pylist()
    assert [{n: v for n, v in row.items() if v is not None} for row in table] == ROWS
    expected = {(n, int(row["step"])): v for row in ROWS for n, v in row.items() if n != "step"}
    found = shown(tmp_path)
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(value) for key, value in expected.items())


def test_rows_after_the_checkpoint_are_forgotten_everywhere(tmp_path: Path) -> None:
    written(tmp_path, [*ROWS, {"step": 3, "loss/task": 9.0}, {"step": 4, "loss/task": 9.0}])
    written(tmp_path, [{"step": 3, "loss/task": 0.125}], step=2)
    expected = [*ROWS, {"step": 3, "loss/task": 0.125}]
    assert in_lines(tmp_path) == expected
    assert parquet.read_table(tmp_path / "metrics.parquet").num_rows == 4
    assert {value for (tag, _), value in shown(tmp_path).items() if tag == "loss/task"} == {0.5, 0.25, 0.125}


def test_a_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss/ta')
    metrics = Metrics(tmp_path, 9)
    metrics.close()
    assert metrics.rows == in_lines(tmp_path) == ROWS


def test_columns(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for row in ROWS:
        metrics.add(row)
    assert metrics.names == ["loss/task", "learning_rate/student", "validation/loss"]
    assert metrics.column("loss/task") == ([1, 2], [0.5, 0.25])
    assert metrics.column("validation/loss") == ([2], [0.75])
    metrics.close()
