"""What a pack's samples have beside image and words: latents, text encodings, what was captured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.pack.captured import about_captured, check_same, member, read_captured
from stages.pack.latents import Encoder, load_encoder
from stages.pack.text import TextEncoders, load_text_encoders, text_lengths, text_members
from store.location import Location

if TYPE_CHECKING:
    from stages.pack.pack import Pack, Stored


def texts_of(row: Mapping[str, Any]) -> list[str]:
    """Every caption of a sample that a run may choose, in order and each once; may be empty."""
    texts = row.get("captions") or [row["caption"], row["caption_original"]]
    return list(dict.fromkeys(text for text in texts if text))


class Extra(NamedTuple):
    """Of one sample: files by extension, and fields of its ``.json``."""

    members: dict[str, bytes]
    fields: dict[str, Any]


@dataclass
class Beside:
    """Makes the arrays of one pack shard, and knows what they were made with."""

    latents: Encoder | None
    text: TextEncoders | None
    extras: tuple[str, ...]
    captured: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack, folder: Location) -> Beside:
        """With the models that ``pack`` names; ``folder`` is where the empty caption's encodings go."""
        latents = load_encoder(pack.latents, pack.latents_revision) if pack.latents else None
        text = load_text_encoders(pack.text, pack.text_revision) if pack.text else None
        if text:
            text.write_empty(folder)
        return cls(latents, text, pack.extras)

    def made(self, samples: Sequence[Stored]) -> list[Extra]:
        """The arrays of each sample."""
        found = [Extra({}, {}) for _ in samples]
        if self.latents:
            for extra, data in zip(found, self.latents.encode([s.image for s in samples]), strict=True):
                extra.members["latent.npy"] = data
        if self.text:
            self._add_text(samples, found)
        if self.extras:
            for sample, extra in zip(samples, found, strict=True):
                extra.members.update(self._captured(sample))
        return found

    def about(self) -> dict[str, Any]:
        """``latents``, ``text`` and ``captured``, as far as there are any, for ``pack.json``."""
        found = {"latents": self.latents and self.latents.about, "text": self.text and self.text.about}
        return {name: about for name, about in (found | {"captured": self.captured}).items() if about}

    def _add_text(self, samples: Sequence[Stored], found: Sequence[Extra]) -> None:
        assert self.text is not None
        texts = [texts_of(sample.row) or [""] for sample in samples]
        encoded = iter(self.text.encode([text for some in texts for text in some]))
        for some, extra in zip(texts, found, strict=True):
            mine = [next(encoded) for _ in some]
            extra.members.update(text_members(mine))
            extra.fields["text_lengths"] = text_lengths(mine)

    def _captured(self, sample: Stored) -> dict[str, bytes]:
        arrays = read_captured(sample.row, self.extras)
        about = about_captured(sample.row, arrays, sample.size, sample.crop)
        self.captured = self.captured or about
        check_same(self.captured, about)
        return {member(name): data for name, data in arrays.items()}
