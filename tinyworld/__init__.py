"""The tiny world: drawn scenes with exact captions and boxes, and a web-like bad crawl of them."""
