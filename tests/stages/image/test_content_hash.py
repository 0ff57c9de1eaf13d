"""The hash of source bytes."""

from __future__ import annotations

from stages.image.content_hash import ContentHash
from stages.stage import Batch


def test_known_hashes_and_no_image() -> None:
    run = ContentHash().open()
    written = run(Batch(3, {}, [b"", b"abc", None], [None, None, None]))
    assert written == {
        "sha256": [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            None,
        ],
        "num_bytes": [0, 3, None],
    }
    assert list(written) == ContentHash.writes.names
