"""Stages that read one image: its bytes, header, small view or full pixels."""
