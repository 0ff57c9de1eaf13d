"""Other people's tools beside ours on the same images: ``python -m benchmarks.peers.run``.

One small script per tool. Each is started by the Python of that tool's own environment, gets a folder (of
images, or of tars) and writes one JSON file: a list of results. A result has ``"pairs"`` (stems of two
files that show the same picture), or ``"kept"`` (stems that are left), or neither, and perhaps a ``"note"``.
"""
