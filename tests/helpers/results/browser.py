"""A headless Chromium that opens our pages: Playwright's own, or one that is installed on the machine.

WebGL is drawn on the CPU, by SwiftShader. A page that complains on its console fails its test.
"""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

OPTIONS = [
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
    "--no-sandbox",
]  # CI is root in a container
INSTALLED = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PIXELS = 0.5  # of the screen for each of the page's, a side: fewer are drawn sooner
PATIENCE = 60_000  # ms, on a machine that does much else


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without Playwright's own, one of the machine's."""
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = None if own.exists() else next(filter(None, map(shutil.which, INSTALLED)), None)
        browser = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, address: str, width: int = 640, height: int = 440, dark: bool = False
) -> Iterator[Page]:
    """A page that is ready; its errors and warnings are asserted to be none."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=PIXELS,
    )
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    try:
        page.goto(address)
        yield page
        assert said == []
    finally:
        page.close()


def canvas_pixels(page: Page) -> np.ndarray:
    """What the 3D view shows now: [h, w, 4] 8-bit sRGB with straight alpha."""
    drawn = page.evaluate("() => { headViewer.drawNow(); return headViewer.canvas.toDataURL('image/png'); }")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))).convert("RGBA"))


def photo_frame(page: Page, width: int, height: int) -> np.ndarray:
    """The part of the 3D view that the photo's frame covers, in so many pixels: [height, width, 4]."""
    frame = page.evaluate("({...headViewer.frame(), canvas: headViewer.canvas.clientWidth})")
    shown = Image.fromarray(canvas_pixels(page))
    sides = (frame["left"], frame["top"], frame["left"] + frame["width"], frame["top"] + frame["height"])
    left, top, right, bottom = (side * shown.width / frame["canvas"] for side in sides)
    size, box = (width, height), (left, top, right, bottom)
    return np.asarray(shown.resize(size, Image.Resampling.BOX, box=box))
