"""Making images with text-to-image pipelines: noise, schedulers, calls, what is captured on the way."""
