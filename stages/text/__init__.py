"""Stages that read or write captions."""
