"""The page in a real browser: the committed notebooks with their verdicts, opened from a file as a
reader opens it.

With SCREENSHOTS=DIR the tests leave pictures there: two widths in both themes.
"""

import csv
import io
import os
import shutil
import time
import warnings
from pathlib import Path

import nbformat
import pytest

from lib.paths import NOTEBOOKS

CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
              None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(
        not (CHROME and DRIVER),
        reason="no browser: needs chromium and chromedriver (Debian: chromium, chromium-driver)"),
    pytest.mark.slow
]

WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--force-prefers-reduced-motion")
OURS = ("file:", "data:", "blob:")


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Write the report of committed notebooks, as `build.py report` would from the published rows:
    `write("11", "40")`.
    """
    from lib import verdicts
    from lib.commands.worker import _published
    from lib.page import build as build_page

    rows = _published()
    context = {
        "verdicts": verdicts.table(verdicts.evaluate(rows)), "answer": verdicts.answer(rows),
        "commit": "a" * 40, "date": "2026-01-01", "seconds": 1
    }

    def page(*numbers):
        notebooks = [(path.stem, path, None)
                     for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
                     if not numbers or path.stem[:2] in numbers]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return build_page([*notebooks, ("99_failed", None, "ValueError: a cell failed")],
                              out=tmp_path_factory.mktemp("page"), profile="published",
                              context=context)
    return page


@pytest.fixture(scope="module")
def page(write):
    """All notebooks."""
    return write()


@pytest.fixture(scope="module")
def small(write):
    """A few: axe looks at every element of a figure, which takes minutes for all."""
    return write("00", "11")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="no browser: needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROME
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    """Open the page: `opened("desk", theme="dark")`."""
    def go(width="desk", *, theme="light", page=page):
        wide, high = WIDTHS[width]
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": width == "phone"})
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"media": "", "features": [{"name": "prefers-color-scheme", "value": theme}]})
        browser.get(page.as_uri())
        return browser
    yield go
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def wait(condition, seconds=5):
    """Poll until the condition holds."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_it_opens_without_an_error_and_without_a_request(opened, page):
    import json

    opened().get_log("performance"), opened().get_log("browser")
    driver = opened()
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in addresses and all(address.startswith(OURS)
                                              for address in addresses), addresses
    assert driver.get_log("browser") == []
    timing = driver.execute_script(
        "const t = performance.getEntriesByType('navigation')[0]; return"
        " [t.domContentLoadedEventEnd, t.loadEventEnd]"
    )
    print("milliseconds to parsed and loaded:", timing)
    assert timing[1] < 10_000  # far more than it takes: a busy machine must not fail


def test_the_filter_shows_what_it_says(opened):
    driver = opened()
    from selenium.webdriver.support.select import Select
    paper, verdict = map(Select, driver.find_elements("css selector", "#filters select"))
    driver.execute_script("location.hash = 'verdicts'")
    rows = driver.find_elements("css selector", "#verdict-table tr[data-paper]")

    def visible():
        return [row for row in rows if row.is_displayed()]
    assert wait(lambda: len(visible()) == len(rows)) and len(rows) > 50
    paper.select_by_visible_text("ozyikan")
    assert visible() and {row.get_attribute("data-paper") for row in visible()} == {"ozyikan"}
    verdict.select_by_visible_text("holds")
    assert visible() and {row.get_attribute("data-verdict") for row in visible()} == {"holds"}
    assert driver.find_element("id",
                               "shown").text == f"{len(visible())} of {len(rows)} claims shown"
    paper.select_by_visible_text("all"), verdict.select_by_visible_text("all")
    assert len(visible()) == len(rows)


def place_of(driver):
    """Chapter, place on the page, what has the focus, the title."""
    return driver.execute_script(
        "return [document.documentElement.dataset.chapter, Math.round(scrollY),"
        " document.activeElement.id, document.title]")


def test_a_count_of_the_scoreboard_opens_its_claims(opened):
    driver = opened()
    link = driver.find_element("css selector", '#scoreboard a[data-route$=":holds"]')
    count = link.text
    link.click()
    assert place_of(driver)[0] == "verdicts"
    assert driver.find_element("id", "shown").text.startswith(f"{count} of ")
    driver.back()
    assert wait(lambda: place_of(driver)[0] == "overview")


def test_chapters_keys_and_the_way_back(opened):
    from selenium.webdriver import ActionChains, Keys
    driver = opened()
    driver.find_element("css selector", '#contents a[href="#nb-13_privacy_budget"]').click()
    chapter, top, focus, title = place_of(driver)
    assert (chapter, top) == ("nb-13_privacy_budget", 0) and focus == f"{chapter}-title"
    assert title.startswith("13 ")
    driver.execute_script("scrollTo(0, 1500)")
    ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()
    assert wait(lambda: place_of(driver)[0] == "nb-14_attack_strength") and place_of(driver)[1] == 0
    driver.back()
    assert wait(lambda: place_of(driver)[:2] == ["nb-13_privacy_budget", 1500])
    driver.execute_script("location.hash = 'verdicts'")
    driver.find_element("css selector", "#filters select").send_keys(Keys.ARROW_RIGHT)
    assert place_of(driver)[0] == "verdicts"  # not while a control has the focus


@pytest.mark.parametrize("name, chapter", [("R2", "verdicts"),
                                           ("dpsgd-rates", "nb-11_dpsgd")])
def test_deep_links_open_their_chapter(opened, page, name, chapter):
    driver = opened()
    driver.get("about:blank")
    driver.get(f"{page.as_uri()}#{name}")
    assert wait(lambda: place_of(driver)[0] == chapter) and place_of(driver)[2] == name
    top = driver.execute_script(
        "return document.getElementById(arguments[0]).getBoundingClientRect().top", name)
    assert -1 <= top < 900


def test_all_chapters_stand_there_without_the_script(opened, page):
    driver = opened()
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page.as_uri())
        sections = driver.find_elements("css selector", "main > section")
        assert len(sections) > 12 and all(section.is_displayed() for section in sections)
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", WIDTHS)
def test_no_chapter_scrolls_sideways(opened, width):
    driver = opened(width)
    wide = driver.execute_script(
        """
        return chapters.filter(chapter => {
            open(chapter, chapter);
            return document.documentElement.scrollWidth > innerWidth;
        }).map(chapter => chapter.id)"""
    )
    assert wide == []


def test_the_contents_lead_there_and_follow_the_reader(opened):
    driver = opened()
    link = next(link for link in driver.find_elements("css selector", "#contents a")
                if link.get_attribute("href").endswith("#nb-16_label_dp"))
    link.click()
    place = driver.find_element("id", "nb-16_label_dp")
    assert wait(lambda: abs(
        driver.execute_script("return arguments[0].getBoundingClientRect().top", place)) < 200)
    assert wait(lambda: link.get_attribute("aria-current") == "location")
    driver.execute_script("location.hash = 'provenance'")
    assert wait(lambda: link.get_attribute("aria-current") is None)
    current = driver.find_elements("css selector", "#contents [aria-current]")
    assert [one.get_attribute("hash") for one in current] == ["#provenance"]
    assert driver.execute_script(
        "const r = arguments[0].getBoundingClientRect(); return r.top >= 0 && r.bottom <="
        " innerHeight",
        current[0],
    )
    assert all(
        driver.execute_script(
            "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash === '#' ||"
            " !!document.getElementById(decodeURIComponent(a.hash.slice(1))))"
        )
    )


def test_the_keyboard_is_enough(opened):
    from selenium.webdriver import ActionChains, Keys
    driver = opened()
    ActionChains(driver).send_keys(Keys.TAB).perform()
    skip = driver.switch_to.active_element
    assert skip.get_attribute("hash") == "#main" and driver.execute_script(
        "return arguments[0].getBoundingClientRect().left", skip) >= 0
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    assert wait(lambda: driver.switch_to.active_element.get_attribute("id") == "main")
    driver.execute_script("location.hash = 'verdicts'")
    seen = set()
    for _ in range(12):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        seen.add(driver.switch_to.active_element.tag_name)
    assert {"select", "div", "summary"} <= seen  # filter, table that scrolls, details of a claim


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_labels_and_contrast(opened, small, width, theme):
    axe = pytest.importorskip("axe_core_python.selenium", reason="no axe-core")
    driver = opened(width, theme=theme, page=small)
    driver.set_script_timeout(120)
    # All chapters at once, as in print.
    driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; });"
                          "document.documentElement.classList.remove('js')")
    found = axe.Axe().run(
        driver, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    assert [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"])
            for one in found["violations"]] == []
    assert len(found["passes"]) > 20
    _pictures(driver, f"{width}-{theme}")


def test_nothing_runs_over_the_edge_of_a_phone(opened):
    driver = opened("phone")
    driver.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true; });"
                          "document.documentElement.classList.remove('js')")
    assert driver.execute_script(
        "return document.documentElement.scrollWidth") <= WIDTHS["phone"][0]
    wide = driver.execute_script(
        """
        const scrolls = e => getComputedStyle(e).overflowX === 'auto';
        const inBox = ({parentElement: e}) => e && (scrolls(e) || inBox(e));
        const over = e => e.getBoundingClientRect().right > innerWidth + 1 && !inBox(e);
        return [...document.querySelectorAll('main *:not(svg *)')].filter(over)
            .map(e => e.outerHTML.slice(0, 100))"""
    )
    assert wide == []


def test_the_theme_can_be_chosen(opened):
    driver = opened()
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = driver.execute_script(ground)
    driver.find_element("id", "theme").click()
    assert driver.execute_script(ground) != light
    driver.find_element("id", "theme").click()
    assert driver.execute_script(ground) == light


def test_data_are_saved_as_csv(opened, page, tmp_path):
    driver = opened()
    driver.execute_cdp_cmd("Browser.setDownloadBehavior",
                           {"behavior": "allow", "downloadPath": str(tmp_path)})
    link = driver.find_element("css selector", 'a[download="dpsgd-rates.csv.gz"]')
    driver.execute_script("arguments[0].click()", link)
    saved = tmp_path / "dpsgd-rates.csv"
    assert wait(saved.exists)
    notebook = nbformat.read(NOTEBOOKS / "11_dpsgd.ipynb", as_version=4)
    output = next(output for cell in notebook.cells for output in cell.get("outputs", [])
                  if output.get("metadata", {}).get("figure", {}).get("id") == "dpsgd-rates")
    rows, given = (list(csv.reader(io.StringIO(text)))
                   for text in (saved.read_text(), output.data["text/csv"]))
    assert len(rows) == len(given) > 10 and rows[0] == given[0]
    for row, line in zip(rows, given, strict=True):
        assert [one == other or float(one) == pytest.approx(float(other), rel=1e-3)
                for one, other in zip(row, line, strict=True)] == [True] * len(line)


def test_it_prints_without_what_is_for_screens(opened):
    driver = opened(theme="dark")
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
    assert driver.execute_script(shown, "nav") == driver.execute_script(shown, ".tools") == "none"
    assert driver.execute_script(
        "return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert driver.execute_script(shown, "#verdict-table") != "none"
    assert driver.execute_script(
        "return [...document.querySelectorAll('main > section')].every(s => s.offsetHeight > 0)")


def _pictures(driver, name):
    folder = os.environ.get("SCREENSHOTS")
    for place in ("top", "verdicts", "dpsgd-rates", "nb-11_dpsgd", "nb-99_failed",
                  "provenance") if folder else ():
        Path(folder).mkdir(parents=True, exist_ok=True)
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", place)
        time.sleep(0.2)
        driver.save_screenshot(str(Path(folder, f"{name}-{place}.png")))
