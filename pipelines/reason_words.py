"""What each reason code means, in a few plain words."""

from __future__ import annotations

import re

_WORDS = {
    "url_missing": "the row had no URL",
    "url_invalid": "the URL is not one that can be fetched",
    "address_private": "the URL points into a private network; it was never asked",
    "dns": "the host name does not exist",
    "refused": "nobody answered at that address",
    "timeout": "the server took too long",
    "redirect": "redirected without an end",
    "tls": "the secure connection failed",
    "opt_out": "the site asked not to be used for training",
    "too_many_bytes": "the file is larger than allowed",
    "empty": "the file has no bytes",
    "lost_by_downloader": "the downloader said nothing of this row",
    "download_failed": "the download failed in a way not known here",
    "repeated_row": "URL and caption of another row",
    "unreadable_file": "the file could not be opened",
    "not_an_image": "the bytes are no image",
    "unsupported_format": "an image format that is not read",
    "too_many_pixels": "the header announces more pixels than allowed",
    "truncated": "the file ends before the picture does",
    "corrupt": "the picture cannot be decoded",
    "zero_size": "a side of 0 pixels",
    "shard_failed": "its whole image shard was set aside, since a stage failed on it",
    "caption_personal": "its caption holds personal data, such as a phone number",
    "caption_boilerplate": "its caption is a file name, an address, or words of a web page",
    "empty_prompt": "a line of the list of prompts without words",
    "repeated_prompt": "the words of a prompt that came before",
    "prompt_copy": "nearly the words of another prompt",
    "unreadable_row": "a line of the list that is no row",
    "safety_checker": "the pipeline's own safety checker held the image back",
    "black_image": "every pixel is black",
    "not_finite": "the pipeline computed NaN: its numbers do not fit its dtype",
    "not_best_of_prompt": "another image of the same prompt scores higher",
    "in_another_part": "an earlier part of the mixture has this image",
    "repeated_image": "its part of the mixture has this image twice",
    "rejected_by_person": "people rejected it and gave no reason",
    "undecided": "people did not decide about it yet",
    "tied": "as many people rejected it as kept it",
    "crop_outside": "a person's crop reaches outside the image: it is not the one they saw",
    "not_drawn": "not needed for the weights of the mixture",
    "caption_missing": "no words came with it",
    "caption_too_long": "a page of text, not a caption",
    "too_small": "the shorter side has too few pixels",
    "duplicate_exact": "the same bytes as a sample that stays",
    "duplicate_near": "the same picture as a sample that stays, edited or re-encoded",
    "duplicate_semantic": "nearly the same embedding as a sample that stays",
    "in_evaluation_image": "a copy of an image of an evaluation set",
    "in_evaluation_caption": "the words of a caption of an evaluation set, or all but one",
}


def meaning(reason: str) -> str:
    """A phrase for a reason code; empty for codes not known here (a recipe may bring its own)."""
    status = re.fullmatch(r"http_(\d{3})", reason)
    if status is not None:
        what = "refused the request" if status[1] < "500" else "failed"
        what = {"404": "has no such page", "410": "says it is gone for good"}.get(status[1], what)
        return f"the server {what} (status {status[1]})"
    if reason.startswith("rejected_") and reason not in _WORDS:
        return f"people rejected it: {reason.removeprefix('rejected_').replace('_', ' ')}"
    score = re.fullmatch(r"(.+)_(low|high|unknown)", reason)
    if score is not None and reason not in _WORDS:
        how = {"low": "is under its bound", "high": "is over its bound", "unknown": "is not known"}[score[2]]
        return f"its {score[1]} {how}"
    return _WORDS.get(reason, "")
