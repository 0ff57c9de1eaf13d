"""What recaptioning and generation do to words and pairs, where the truth is drawn and so is known.

    mashbill quickstart --store world
    python -m benchmarks.better_words --store world [--prompts 300]

On the quickstart's crawl: ``l-orig``, ``l-pp`` and ``l-pps`` with the shipped captioner, and how much of the
truth their captions tell; the truth is of the whole picture, so once for all, and once for those whose crop
keeps every thing. Of ``tiny-prompts`` the shipped UNet makes ``synt``; the captioner reads its pictures,
which says what was got of what was asked. Curators who see what the captioner sees then go through
``synt``: they reject a picture with two or more attributes wrong and correct the words of one with a single
one, which makes ``synt-cur``. CLIP similarity is that of the shipped CLIP, with the standard error of the
mean.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from pipelines.build import build
from pipelines.dataset import Dataset
from pipelines.executors import local_executor
from pipelines.quickstart import PORT, crawl_source
from pipelines.recipes.l_pp import l_pp
from pipelines.recipes.l_pps import l_pps
from pipelines.recipes.synt import synt
from pipelines.recipes.synt_cur import synt_cur
from pipelines.recipes.tiny_prompts import tiny_prompts
from pipelines.settings import apply_settings
from stages.pack.pack import Pack
from stages.score.clip_similarity import ClipSimilarity
from stages.source.prompts import PromptDataset
from stages.stage import Source
from store.decisions import DECISIONS, write_decisions
from store.store import Store, open_store
from store.versions import find_version
from tinyworld.crawl import Crawl
from tinyworld.read_caption import Said, read_caption

NO_PACKS = Pack(resolutions=())
WORDS = [
    "recaption.chat.model=tinyworld/models/captioner",
    "recaption.styles.long.prompt=long",
    "recaption.styles.long.max_tokens=64",
]
CLIP = "clip_similarity.model=tinyworld/models/clip"
ATTRIBUTES: dict[str, Callable[[Said], Any]] = {
    "count": lambda said: said.count,
    "shape": lambda said: [thing.shape for thing in said.things],
    "color": lambda said: [thing.color for thing in said.things],
    "relation": lambda said: said.relation,
    "background": lambda said: said.background,
    "style": lambda said: said.style,
}


def built(store: Store, dataset: Dataset) -> Any:
    """The kept samples of a dataset, built where it was not."""
    bars: dict[str, Any] = {}

    def progress(what: str, done: int, total: int, failed: int = 0) -> None:
        bar = bars.setdefault(what, tqdm(total=total, desc=f"{dataset.name}: {what}", mininterval=10.0))
        bar.update(done - bar.n)

    build(store, dataset, local_executor(1), progress)
    samples = find_version(store, dataset.name).samples()
    return samples.filter(samples["kept"])


def told(captions: Sequence[str | None], truths: Sequence[str]) -> dict[str, float]:
    """Share of true captions, by attribute, whose value the caption has; ``all`` is of every attribute."""
    right: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, "all")}
    for caption, truth in zip(captions, truths, strict=True):
        said, true = read_caption(caption or ""), read_caption(truth)
        each = {name: value(said) == value(true) for name, value in ATTRIBUTES.items()}
        for name, same in (each | {"all": all(each.values())}).items():
            right[name].append(same)
    return {name: sum(values) / len(values) for name, values in right.items()}


def mean(column: Any) -> str:
    values = np.array(pc.drop_null(column).to_pylist())
    return f"{values.mean():.3f} ± {values.std() / math.sqrt(len(values)):.3f}"


def words_of_the_crawl(store: Store, source: Source) -> None:
    parent = replace(l_pps(), source=source, pack=NO_PACKS)
    with_words = apply_settings(parent, [*WORDS, CLIP])
    new = built(store, with_words)
    truth = [json.loads(meta).get("truth_caption") for meta in new["meta"].to_pylist()]
    known = [i for i, text in enumerate(truth) if text]
    print(f"\nl-pps: {len(new)} kept, {len(known)} of them with a truth\n")
    print("| share of the truth told | " + " | ".join((*ATTRIBUTES, "all")) + " |")
    print("| --- |" + " --- |" * (len(ATTRIBUTES) + 1))
    whole = [i for i, share in enumerate(new["subject_kept"].to_pylist()) if truth[i] and (share or 0) > 0.99]
    for which, some in (("all", known), (f"{len(whole)} uncut", whole)):
        for name, column in (("found on the web", "caption_original"), ("by the captioner", "caption")):
            captions = new[column].to_pylist()
            shares = told([captions[i] for i in some], [truth[i] for i in some])
            print(f"| {which}, {name} | " + " | ".join(f"{share:.3f}" for share in shares.values()) + " |")
    print("\n| CLIP similarity | pairs | mean |\n| --- | --- | --- |")
    scored = replace(
        with_words,
        columns=tuple(
            ClipSimilarity(model="tinyworld/models/clip") if stage.name == "clip_similarity" else stage
            for stage in with_words.columns
            if stage.name != "recaption"
        ),
    )
    scored = replace(scored, select=l_pp().select)
    everything = replace(scored, name="l-orig-scored", select=scored.select[:2])
    for name, dataset in (("l-orig", everything), ("l-pp", replace(scored, name="l-pp-scored"))):
        rows = built(store, dataset)
        print(f"| {name} | {len(rows)} | {mean(rows['clip_similarity'])} |")
    print(f"| l-pps | {len(new)} | {mean(new['clip_similarity'])} |")


def pairs_made(store: Store, prompts: int, steps: int) -> None:
    asked = tiny_prompts()
    built(store, replace(asked, source=replace(asked.source, samples=prompts)))
    made = synt()
    source = replace(
        made.source,
        model="tinyworld/models/unet",
        prompts=PromptDataset("tiny-prompts"),
        steps=steps,
        guidance_scale=3.0,
        width=0,
        height=0,
        dtype="float32",
    )
    dataset = apply_settings(replace(made, source=source, pack=NO_PACKS), [CLIP])
    rows = built(store, dataset)
    print(f"| synt, {steps} steps | {len(rows)} | {mean(rows['clip_similarity'])} |")
    read = replace(
        dataset,
        name="synt-read",
        columns=(
            *dataset.columns,
            *(s for s in apply_settings(l_pps(), WORDS).columns if s.name == "recaption"),
        ),
    )
    seen = built(store, read)
    prompted = [json.loads(meta)["prompt"] for meta in seen["meta"].to_pylist()]
    shares = told(seen["caption"].to_pylist(), prompted)
    decide(store, seen["sample_id"].to_pylist(), seen["caption"].to_pylist(), prompted)
    curated = synt_cur()
    scored = replace(
        curated, columns=(*curated.columns, ClipSimilarity(model="tinyworld/models/clip")), pack=NO_PACKS
    )
    chosen = built(store, scored)
    words = sum(chosen["caption_by_person"].to_pylist())
    print(f"| synt-cur, {words} with other words | {len(chosen)} | {mean(chosen['clip_similarity'])} |")
    print(
        "\nof what was asked, seen by the captioner: " + ", ".join(f"{n} {s:.3f}" for n, s in shares.items())
    )


def decide(store: Store, samples: list[str], seen: list[str], asked: list[str]) -> None:
    """The decisions of curators who see what the captioner sees."""
    rows = []
    for number, (sample_id, caption, prompt) in enumerate(zip(samples, seen, asked, strict=True), 1):
        said, wanted = read_caption(caption), read_caption(prompt)
        wrong = sum(value(said) != value(wanted) for value in ATTRIBUTES.values())
        keep = wrong < 2
        row = dict.fromkeys(DECISIONS.names) | {
            "sample_id": sample_id,
            "verdict": "keep" if keep else "reject",
            "reasons": [] if keep else ["off_prompt"],
            "caption": caption if wrong == 1 else None,
            "votes_keep": int(keep),
            "votes_reject": int(not keep),
            "people": ["captioner"],
            "events": [number],
            "decided_at": datetime.now(UTC),
        }
        rows.append(row)
    version = find_version(store, "synt").version
    about = {"version": version, "queue": len(rows), "votes_required": 1, "last_event": len(rows)}
    write_decisions(store, "synt", pa.Table.from_pylist(rows, schema=DECISIONS), about)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="where quickstart has built")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    store = open_store(options.store)
    table = next((Path(options.store) / "tinyworld").glob("crawl-*/crawl.parquet"))
    crawl = Crawl(table.parent, f"http://127.0.0.1:{PORT}", int(table.parent.name.removeprefix("crawl-")))
    words_of_the_crawl(store, crawl_source(crawl))
    pairs_made(store, options.prompts, options.steps)


if __name__ == "__main__":
    main()
