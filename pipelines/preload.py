"""Imported once by the process that worker processes are forked from, so that they start at once."""

import pyarrow

import pipelines.intake
import pipelines.map_pass
import pipelines.packing  # noqa: F401

pyarrow.array([""])  # its first array imports pandas, where that is installed
