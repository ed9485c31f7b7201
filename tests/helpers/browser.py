"""A real browser, without a window, for tests of HTML pages.

`conftest.py` makes it the fixture `browser`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

WIDTHS = (420, 1000, 1400, 1920)

_FAULTS = """
const faults = [];
const wide = document.documentElement.scrollWidth;
if (wide > innerWidth) faults.push(`the page is ${wide} px wide`);
const name = (e) => `${e.tagName.toLowerCase()}.${e.className} in ` +
  (e.closest("section[data-table]")?.dataset.table ?? "the page") +
  `: ${e.textContent.trim().slice(0, 40)}`;
const light = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
  return a === 0 ? null : 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
for (const e of document.querySelectorAll("body *")) {
  if (!e.checkVisibility() || e.closest(".visually-hidden, .skip, pre, svg")) continue;
  const style = getComputedStyle(e);
  const matrix = innerWidth > 760 && e.querySelector(":scope > table.matrix");
  const hides = style.overflowX !== "visible" && !e.matches("input, select") && !matrix;
  if (hides && e.scrollWidth > e.clientWidth + 1) faults.push("clipped: " + name(e));
  const box = e.getBoundingClientRect();
  const framed = e.closest(".scroll:has(> table.matrix)");
  if (box.right > innerWidth + 1 && !framed) faults.push("outside: " + name(e));
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || e.closest("option")) continue;
  let ground = null;
  for (let behind = e; behind && ground === null; behind = behind.parentElement) {
    ground = light(getComputedStyle(behind).backgroundColor);
  }
  if (Math.abs(light(style.color) - ground) < 60) faults.push("not to be read: " + name(e));
}
return faults.slice(0, 12);
"""


class Browser:
    """One browser that shows one page after another.

    Attributes:
        driver: The selenium driver.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, hash_: str = "") -> None:
        """Show a page and wait until its script has run."""
        self.log()  # what earlier pages said is not this one's
        self.driver.get("about:blank")  # another hash alone would load nothing
        self.driver.get(page.absolute().as_uri() + hash_)
        self.wait("document.documentElement.dataset.ready === 'true'")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns: `return document.title`."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, *, seconds: float = 20.0) -> None:
        """Wait until a JavaScript expression is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(
            lambda driver: driver.execute_script(f"return Boolean({condition})"), condition
        )

    def find(self, selector: str) -> Any:
        """The first element."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """All elements."""
        return list(self.driver.find_elements("css selector", selector))

    def shown(self, selector: str) -> list[str]:
        """The texts of the elements that can be seen, in the order of the page."""
        return list(
            self.run(
                "return [...document.querySelectorAll(arguments[0])]"
                ".filter(e => e.checkVisibility()).map(e => e.textContent.trim())",
                selector,
            )
        )

    def type(self, selector: str, text: str) -> None:
        """Replace what an input holds, key by key."""
        from selenium.webdriver.common.keys import Keys

        element = self.find(selector)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(Keys.DELETE)
        if text:
            element.send_keys(text)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select."""
        from selenium.webdriver.support.ui import Select

        Select(self.find(selector)).select_by_value(value)

    def log(self) -> list[str]:
        """What the console said since this was asked last: errors, warnings, blocked requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def layout_faults(self, page: Path) -> list[str]:
        """What cannot be seen of a page at four widths, in light and in dark.

        Nothing is cut off, the page does not scroll sideways, and text stands out from what is
        behind it. Code (`pre`) and, on wide screens, matrices scroll in their own frames.
        """
        faults = []
        self.open(page)
        for width in WIDTHS:
            for dark in (False, True):
                self.look(width=width, height=900, dark=dark)
                shades = "dark" if dark else "light"
                faults += [f"{width} px, {shades}: {fault}" for fault in self.run(_FAULTS)]
        return faults + self.log()

    def screenshot(self, path: Path, *, width: int, height: int, dark: bool = False) -> None:
        """The page as a PNG."""
        self.look(width=width, height=height, dark=dark)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window and the colour scheme."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `folder`; skips where there is none, and says why."""
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
    except ImportError as error:
        pytest.skip(f"selenium is not installed ({error})")
    binary = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver_path = shutil.which("chromedriver")
    if binary is None or driver_path is None:
        missing = "chromium" if binary is None else "chromedriver"
        pytest.skip(f"{missing} is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    except WebDriverException as error:
        pytest.skip(f"the browser does not start: {error.msg}")
    try:
        yield Browser(driver)
    finally:
        driver.quit()
