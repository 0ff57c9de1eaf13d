"""Stillness of the libraries below us while a block lasts: nothing is changed for who imports us."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers


@contextmanager
def quiet() -> Iterator[None]:
    """diffusers and transformers say errors alone and draw no bars in this block; what they say in between
    is for people who write programs with them."""
    switches = [library.utils.logging for library in (diffusers, transformers)]
    before = [(switch.get_verbosity(), switch.is_progress_bar_enabled()) for switch in switches]
    for switch in switches:
        switch.set_verbosity_error()
        switch.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*local_dir_use_symlinks")  # diffusers' own call
            yield
    finally:
        for switch, (verbosity, bars) in zip(switches, before, strict=True):
            switch.set_verbosity(verbosity)
            if bars:
                switch.enable_progress_bar()


@contextmanager
def cut_silently(pipeline: object) -> Iterator[None]:
    """Captions longer than an encoder reads are cut without a word in this block. ``quiet`` would do too, and
    costs 3 ms each time."""
    names = (type(pipeline).__module__, "transformers.tokenization_utils_base")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
