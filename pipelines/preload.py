"""Imported once by the process that worker processes are forked from, so that they start at once."""

import numpy  # noqa: F401
import PIL.Image  # noqa: F401
import pyarrow.parquet  # noqa: F401

import stages.image.picture  # noqa: F401
