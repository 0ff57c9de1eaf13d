"""The card of a trained model, for people: what it is, what it learned from, and how well."""

from __future__ import annotations

from typing import Any

from distill_runs.models import Model
from distill_runs.settings import Run
from store.runs import RunAt

CARD = """# {name}

{kind}, {parameters:,} parameters in its denoiser, trained by mashbill. Saved: {saved}.

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{folder}")
picture = pipeline("{prompt}", num_inference_steps={steps}, guidance_scale={scale:g}{more}).images[0]
```

![Samples](../samples.png)

## What it learned from

| | |
| --- | --- |
| started from | `{student}` |
| method | {method} |
| data | {data} |
| steps | {run_steps:,}, {samples:,} visits of samples |
| run | `{run}` |

Losses, gradient norms and learning rates: `curves.png`, `metrics.parquet` and `events/` beside this folder;
the whole recipe: `run.json`; figures: `summary.json`.

## Figures

{figures}

## Licence

The model inherits the terms of `{student}` and of the images and captions of its dataset; mashbill adds
none. Say which those are before you pass it on.
"""


def model_card(run: Run, model: Model, summary: dict[str, Any], place: RunAt) -> str:
    """Markdown; ``summary`` as the run writes it."""
    losses = [
        f"| {name} | {c['first']:.4g} | {c['last']:.4g} | {c['lowest']:.4g} |"
        for name, c in summary["losses"].items()
    ]
    table = ["| loss | first | last | lowest |", "| --- | ---: | ---: | ---: |", *losses]
    return CARD.format(
        name=run.name,
        kind=type(model.pipeline).__name__,
        parameters=summary["num_parameters"],
        saved=summary["saved"],
        folder=f"{place.folder}/model",
        prompt=(run.samples.prompts or ("a red circle",))[0].replace('"', "'"),
        steps=run.samples.inference_steps,
        scale=run.samples.guidance_scale,
        more=_length_of_t5(model),
        student=run.student,
        method=summary["method"],
        data="; ".join(sorted({f"{p['dataset']}@{p['version']}" for p in summary["packs"]})),
        run_steps=summary["steps"],
        samples=summary["samples_seen"],
        run=place.id,
        figures="\n".join(table),
    )


def _length_of_t5(model: Model) -> str:
    """SD3 reads the padding of T5 too, and is trained with as much as the tokenizer says, 256 at most, which
    is what the stock pipeline takes unless it is told."""
    t5 = model.pipeline.components.get("tokenizer_3")
    return f", max_sequence_length={t5.model_max_length}" if t5 and t5.model_max_length < 256 else ""
