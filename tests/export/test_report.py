"""report.html in a browser: it shows what was fitted, every control does something, nothing complains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import canvas_pixels, chromium, opened, photo_frame
from conftest import made_once
from made_result import make_result, somebody
from PIL import Image
from playwright.sync_api import Browser, Page

from nextface.export.files import write_json, write_png
from nextface.export.pictures import psnr
from nextface.export.report.index import REPORT
from nextface.export.report.page import write_report
from nextface.scene.lighting import sh_basis, sh_rotation

NEAR = 32.0  # dB: the 3D view at the photo's view against the ray-traced picture, where both show the head
LARGEST = 6e6  # bytes of a page
NEXT_PICTURE = "new Promise(requestAnimationFrame)"  # by then what the controls asked for is done
WARNING = "5 < 6 & a <b>warning</b>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person in two ray-traced photos, with a report. Tests only read it."""

    def make(folder: Path) -> dict[str, object]:
        made = make_result(folder, photos=2, backend="mitsuba", samples=256)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["warnings"] = [WARNING]
        metrics["lossCurves"] = {"stage1": [4.0, 2.0, 1.0], "stage2": [3.0]}
        metrics["secondsByPart"] = {"stage1": 1.5, "output": 3.0}
        write_png(folder / "visibility_0.png", np.full((8, 8, 3), (1, 0, 0)))
        for photo in range(2):
            scene = json.loads((folder / f"scene_{photo}.json").read_text())
            scene["files"]["visibility"] = "visibility_0.png"
            write_json(folder / f"scene_{photo}.json", scene)
        deviation = torch.linspace(0, 3, made.vertices().shape[1])
        write_report(replace(made, folder=folder, metrics=metrics, shape_deviation=deviation))
        return {}

    return made_once(tmp_path_factory, "report", make)[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """The report, ready; each test leaves it as it was found."""
    with opened(browser, (folder / REPORT).as_uri()) as page:
        page.wait_for_selector("#viewer.ready")
        yield page


def test_the_page_is_one_small_file(folder: Path) -> None:
    text = (folder / REPORT).read_text(encoding="utf-8")
    assert len(text.encode()) < LARGEST
    assert "default-src 'none'" in text  # the browser itself would refuse to load anything
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "MIT License" in text  # three.js' notice goes with its code


def test_what_comes_from_outside_is_text(page: Page) -> None:
    assert page.locator(".warnings li").all_inner_texts() == [WARNING]


@pytest.mark.parametrize("photo", [0, 1])
def test_the_photos_view_is_the_ray_traced_picture(page: Page, folder: Path, photo: int) -> None:
    page.locator(f"input[name=photo][value='{photo}']").check(force=True)
    traced = np.asarray(Image.open(folder / f"reconstruction_{photo}.png"))
    shown = photo_frame(page, traced.shape[1], traced.shape[0])
    both = (traced[..., 3] == 255) & (shown[..., 3] == 255)
    assert both.mean() > 0.2
    assert ((traced[..., 3] > 127) == (shown[..., 3] > 127)).mean() > 0.995
    assert (psnr(shown[..., :3], traced[..., :3], both) or 0) > NEAR
    page.locator("input[name=photo][value='0']").check(force=True)


def test_the_mesh_is_the_fitted_one(page: Page) -> None:
    shown = np.array(page.evaluate("Array.from(headViewer.vertices)")).reshape(-1, 3)
    assert np.abs(shown - somebody(1).vertices()[0].numpy()).max() < 0.02  # mm


def test_harmonics_are_those_of_the_program(page: Page) -> None:
    torch.manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(3, dtype=torch.float64), dim=0)
    shown = page.evaluate("([x, y, z]) => Harmonics.basis(x, y, z, 9, [])", direction.tolist())
    assert np.allclose(shown, sh_basis(direction, 9), atol=1e-12)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turn = turn * turn.det()
    light = torch.randn(25, 3, dtype=torch.float64)
    shown = page.evaluate(
        "([light, turn]) => Array.from(Harmonics.lookedAt(light, 5, turn, 5))",
        [light.flatten().tolist(), turn.flatten().tolist()],
    )
    assert np.allclose(np.reshape(shown, (25, 3)), sh_rotation(turn.T, 5) @ light, atol=0.01)


@pytest.mark.parametrize(
    "control",
    [
        *(f"input[name=light][value={name}]" for name in ("studio", "window", "sunset", "even", "pointer")),
        *(
            f"input[name=mode][value={name}]"
            for name in ("clay", "diffuse", "specular", "roughness", "visibility", "uncertainty")
        ),
    ],
)
def test_lights_and_surfaces_look_different(page: Page, control: str) -> None:
    before = canvas_pixels(page)
    page.locator(control).check(force=True)
    page.evaluate(NEXT_PICTURE)
    assert np.abs(canvas_pixels(page).astype(int) - before).mean() > 0.3
    group = "light" if "light" in control else "mode"
    page.locator(f"input[name={group}]").first.check(force=True)
    page.evaluate(NEXT_PICTURE)
    assert (canvas_pixels(page) == before).all()


@pytest.mark.parametrize("control", ["#turn", "#raise", "#brightness"])
def test_sliders_change_the_light(page: Page, control: str) -> None:
    before = canvas_pixels(page)
    page.locator(control).fill("1.5" if control == "#brightness" else "60")
    page.evaluate(NEXT_PICTURE)
    assert np.abs(canvas_pixels(page).astype(int) - before).mean() > 0.3
    page.locator(control).fill("0")
    page.evaluate(NEXT_PICTURE)
    assert (canvas_pixels(page) == before).all()


@pytest.mark.parametrize("control", ["[name=map][value=diffuse]", "[name=map][value=specular]", "#shadows"])
def test_maps_and_shadows_can_be_left_out(page: Page, control: str) -> None:
    before = canvas_pixels(page)
    page.locator(control).uncheck()
    assert (canvas_pixels(page) != before).any()
    page.locator(control).check()
    assert (canvas_pixels(page) == before).all()


def test_light_follows_the_mouse(page: Page) -> None:
    page.locator("input[name=light][value=pointer]").check(force=True)
    brightness = []
    for place in (60, 540):
        page.locator("#canvas").hover(position={"x": place, "y": 150})
        page.evaluate(NEXT_PICTURE)
        shown = canvas_pixels(page)[..., :3].astype(float)
        half = shown.shape[1] // 2
        brightness.append(shown[:, :half].mean() / shown[:, half:].mean())
    assert brightness[0] > 1.3 * brightness[1]  # light from the left makes the left half the brighter one
    page.locator("input[name=light]").first.check(force=True)


def test_every_expression_moves_the_head(page: Page) -> None:
    still = page.evaluate(
        """() => {
          const still = [];
          for (const slider of document.querySelectorAll("#expressions input")) {
            const [value, before] = [slider.value, headViewer.vertices.slice()];
            slider.value = Number(value) < slider.max / 2 ? slider.max : slider.min;
            slider.dispatchEvent(new Event("input"));
            const moved = headViewer.vertices.some((place, i) => Math.abs(place - before[i]) > 0.1);
            if (!moved) still.push(slider.name);
            slider.value = value;
          }
          document.querySelector("#asInPhoto").click();
          return still;
        }"""
    )
    assert not still
    before = canvas_pixels(page)
    page.locator("#atRest").click()
    assert (canvas_pixels(page) != before).any()
    page.locator("#asInPhoto").click()
    assert (canvas_pixels(page) == before).all()


def test_the_keyboard_walks_around_the_head_and_back(page: Page) -> None:
    before = canvas_pixels(page)
    canvas = page.locator("#canvas")
    for key in ("ArrowLeft", "ArrowUp", "+"):
        canvas.press(key)
        assert (canvas_pixels(page) != before).any()
    canvas.press("Home")
    assert (canvas_pixels(page) == before).all()


def test_the_mouse_turns_the_head_and_the_button_returns(page: Page) -> None:
    before = canvas_pixels(page)
    canvas = page.locator("#canvas")
    assert page.locator("#home").is_disabled()
    canvas.hover(position={"x": 200, "y": 100})
    page.mouse.down()
    canvas.hover(position={"x": 300, "y": 120})
    page.mouse.up()
    assert (canvas_pixels(page) != before).any()
    page.locator("#home").click()
    assert (canvas_pixels(page) == before).all()


def test_the_photo_lies_behind_the_head_at_its_view_alone(page: Page) -> None:
    behind = page.locator("#behind")
    assert behind.is_hidden()
    page.locator("#inPhoto").check()
    frame, box = page.evaluate("headViewer.frame()"), behind.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == pytest.approx((frame["width"], frame["height"]), abs=0.1)
    page.locator("#canvas").press("ArrowLeft")
    assert behind.is_hidden()
    page.locator("#home").click()
    assert behind.is_visible()
    page.locator("#inPhoto").uncheck()


def test_photo_fit_and_difference_meet_at_a_line(page: Page) -> None:
    section = page.locator(".compare").first
    pictures = {
        kind: section.locator(f"[data-kind={kind}]").get_attribute("src")
        for kind in ("photo", "fit", "difference")
    }
    assert len(set(pictures.values())) == 3
    assert section.locator(".right").get_attribute("src") == pictures["fit"]
    section.locator("input[data-side=right][value=difference]").check(force=True)
    assert section.locator(".right").get_attribute("src") == pictures["difference"]
    line = section.locator("input[type=range]")
    line.fill("20")
    assert section.locator(".stage").evaluate("stage => stage.style.getPropertyValue('--line')") == "20%"
    line.press("ArrowRight")
    assert float(line.input_value()) > 20
    section.locator("input[data-side=right][value=fit]").check(force=True)


def test_a_map_opens_large_and_closes_by_escape(page: Page) -> None:
    page.locator("button.map", has_text="Roughness").click()
    large = page.locator("#large")
    assert large.is_visible()
    assert "Roughness" in large.inner_text()
    page.keyboard.press("Escape")
    assert large.is_hidden()


def test_everything_has_a_name(page: Page) -> None:
    """What a screen reader says of controls and pictures."""
    nameless = page.evaluate(
        """() => [
          ...[...document.querySelectorAll("input")].filter((one) => !one.labels.length && !one.ariaLabel),
          ...[...document.querySelectorAll("button")].filter((one) => !one.textContent.trim()),
          ...[...document.querySelectorAll("img")].filter((one) => !one.hasAttribute("alt")),
        ].map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert not nameless


def test_tab_goes_through_the_page_and_shows_where_it_is(page: Page) -> None:
    page.locator("h1").evaluate("one => { one.tabIndex = -1; one.focus(); }")
    stops = []
    for _ in range(80):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => {
              const one = document.activeElement;
              const shown = getComputedStyle(one).opacity === "0" ? one.closest("label, .stage") : one;
              return {
                tag: one.tagName,
                key: one.id || one.name || one.innerText,
                place: [...document.querySelectorAll("*")].indexOf(one),
                outline: parseFloat(getComputedStyle(shown).outlineWidth)
                  * (getComputedStyle(shown).outlineStyle !== "none"),
              };
            }"""
        )
        if stop["tag"] == "BODY":
            break
        stops.append(stop)
    assert stop["tag"] == "BODY", "no trap on the way"
    assert {"canvas", "light", "turn", "mode", "shadows", "atRest", "left0"} <= {stop["key"] for stop in stops}
    places = [stop["place"] for stop in stops]
    assert places == sorted(places)
    assert min(stop["outline"] for stop in stops) >= 2


def test_narrow_screens_scroll_in_one_direction_alone(browser: Browser, folder: Path) -> None:
    width = 360
    with opened(browser, (folder / REPORT).as_uri(), width, 740, dark=True) as narrow:
        narrow.wait_for_selector("#viewer.ready")
        assert narrow.evaluate("document.documentElement.scrollWidth") <= width
        assert narrow.locator("#canvas").bounding_box()["width"] > 0.9 * (width - 24)  # type: ignore[index]
        low = narrow.evaluate(  # for fingers; what has a label is pressed by it
            """() => [...document.querySelectorAll("button, input, summary")]
              .map((one) => one.labels?.[0] ?? one)
              .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 40)
              .map((one) => one.outerHTML.slice(0, 80))"""
        )
        assert not low
