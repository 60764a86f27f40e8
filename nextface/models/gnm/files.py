"""Which file the face model `gnm` is read from."""

from __future__ import annotations

from nextface.model_files.offer import Licence, Offer
from nextface.model_files.wanted import Wanted
from nextface.model_files.web_file import WebFile

NAME = "gnm"
FILES = Wanted(
    ("gnm_head.npz", "gnm/gnm_head.npz", "GNM/gnm/shape/data/versions/v3_0/gnm_head.npz"),
    "Google's GNM Head 3",
    "https://huggingface.co/google/gnm-v3, v3_0/gnm_head.npz (Apache-2.0, no form; `nextface model fetch gnm` "
    "does it; earlier commits of https://github.com/google/GNM have it in gnm/shape/data/versions/v3_0)",
)
# The model page's revision of September 2026, the checksum that it publishes beside the file.
_REVISION = "c01e90d298d82301f9fd18f54806be751775cb7c"
OFFER = Offer(
    "Google's GNM Head 3",
    Licence(
        "Apache License 2.0",
        "Copyright 2026 Google LLC",
        "https://www.apache.org/licenses/LICENSE-2.0",
        "You may use, change and pass it on, for money too, with this licence and its notices; changed files "
        "say so. It has no warranty and brings no trade marks; its patent licence ends if you sue over it.",
    ),
    WebFile(
        f"https://huggingface.co/google/gnm-v3/resolve/{_REVISION}/v3_0/gnm_head.npz",
        53_328_601,
        "61d78bbfb4ad8e0b38495804a4caef3214d3df00f8c3f68761e63b41ce3747eb",
        "gnm_head.npz",
    ),
)
