"""Training of the tiny world's own models, each from a seed, on scenes that are drawn on the spot.

Needs torch, diffusers and transformers; the rest of the tiny world does not.
"""

from pathlib import Path

NAMES = ("vae-4", "vae-16", "clip", "clip-text-2", "t5", "captioner", "prompt-writer")
"""What ``python -m tinyworld train`` can make, in the order in which one needs another."""

MODELS = Path(__file__).parent.parent / "models"
"""Where the trained models lie that come with the project."""
