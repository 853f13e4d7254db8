"""The console in a real browser, headless Chromium, where that is installed."""

import contextlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from axe_core_python.selenium import Axe
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from twisted.internet.threads import deferToThread

from aibridge.console import passwords
from aibridge.console.accounts import Accounts
from aibridge.console.settings import ConsoleSettings

from ..insight.records import USD
from ..record.databases import OnSQLite
from .browser import WithPages

DRIVER = shutil.which("chromedriver")
PASSWORD = "correct horse battery"
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class ChromiumTests(WithPages, OnSQLite):
    """An auditor at the console."""

    skip = None if DRIVER else "no chromedriver"
    timeout = 90
    settings = ConsoleSettings(auth="password")

    def setUp(self) -> None:
        self.patch(passwords, "_COST", 2**4)
        super().setUp()
        Accounts(self.url).add("ada", "admin", PASSWORD, datetime.now(UTC))
        now = datetime.now(UTC) - timedelta(hours=1)
        for number in range(24):
            session = {"client_session_id": f"s{number}", "initiator_id": "alice" if number % 2 else "bob"}
            calls = {"calls": {"Bash": f"t{number}"}, "injected": {"ask": "it broke"}}
            self.exchange(
                now + timedelta(seconds=number), prompt=f"words {number}", cost=USD, thoughts=["hm"], **session, **calls
            )

    async def browse(self, story: Callable[[Chrome], None], *options: str, **preferences: object) -> None:
        """Let a browser act on a thread of its own, while the reactor serves it."""
        await deferToThread(self._browse, story, options, preferences)

    def _browse(
        self, story: Callable[[Chrome], None], options: tuple[str, ...], preferences: dict[str, object]
    ) -> None:
        chosen = ChromeOptions()
        for option in (*OPTIONS, *options):
            chosen.add_argument(option)
        if preferences:
            chosen.add_experimental_option("prefs", preferences)
        driver = Chrome(chosen, Service(DRIVER))
        try:
            driver.implicitly_wait(5)
            story(driver)
        finally:
            driver.quit()

    def sign_in(self, driver: Chrome, path: str = "/sessions") -> None:
        driver.get(self.base + path)
        driver.find_element(By.NAME, "name").send_keys("ada")
        driver.find_element(By.NAME, "password").send_keys(PASSWORD + Keys.ENTER)
        self.assertEqual(self.heading(driver, "Sign in"), {"/sessions": "Sessions"}.get(path, "Overview"))

    def heading(self, driver: Chrome, before: str = "") -> str:
        """Return the heading of the page, once it is another one than before."""
        for _ in range(200):
            with contextlib.suppress(WebDriverException):  # the page went while its heading was read
                text = str(driver.find_element(By.TAG_NAME, "h1").text)
                if text != before:
                    return text
        return before

    def visit(self, driver: Chrome) -> None:
        """Filter, page through, open a session, export, and sign out."""
        self.sign_in(driver)
        driver.find_element(By.CSS_SELECTOR, ".filters summary").click()
        driver.find_element(By.NAME, "actor").send_keys("alice" + Keys.ENTER)
        driver.find_element(By.CSS_SELECTOR, ".filters .count")
        actors = {cell.text for cell in driver.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(3)")}
        self.assertEqual(actors, {"alice"})
        driver.get(f"{driver.current_url}&limit=8")
        first = driver.find_element(By.CSS_SELECTOR, "tbody th").text
        driver.find_element(By.LINK_TEXT, "Next page").click()
        driver.find_element(By.LINK_TEXT, "First page")
        self.assertNotEqual(driver.find_element(By.CSS_SELECTOR, "tbody th").text, first)
        self.assertIn("format=csv", driver.find_element(By.LINK_TEXT, "CSV").get_attribute("href") or "")
        words = driver.find_element(By.CSS_SELECTOR, "tbody th a")
        opened = words.text
        words.click()
        self.assertEqual(self.heading(driver, "Sessions"), opened)
        driver.find_element(By.XPATH, "//button[text()='Sign out']").click()
        self.assertEqual(self.heading(driver, opened), "Sign in")

    async def test_visit(self) -> None:
        """A visit with a mouse."""
        await self.browse(self.visit)

    async def test_without_javascript(self) -> None:
        """The same visit in a browser that runs no scripts."""
        off = {"profile.managed_default_content_settings.javascript": 2}
        await self.browse(self.visit, **off)

    async def test_keyboard(self) -> None:
        """Pages are reached, and the filter is used, with the keyboard alone."""

        def visit(driver: Chrome) -> None:
            self.sign_in(driver)

            def tab_to(wanted: Callable[[Any], bool]) -> Any:
                for _ in range(60):
                    driver.switch_to.active_element.send_keys(Keys.TAB)
                    if wanted(driver.switch_to.active_element):
                        return driver.switch_to.active_element
                raise AssertionError("not reached by the keyboard")

            driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
            self.assertEqual(driver.switch_to.active_element.text, "Skip to the content")
            tab_to(lambda element: element.text == "Models").send_keys(Keys.ENTER)
            self.assertEqual(self.heading(driver, "Sessions"), "Models")
            tab_to(lambda element: element.tag_name == "summary").send_keys(Keys.ENTER)
            tab_to(lambda element: element.get_attribute("name") == "actor").send_keys("alice" + Keys.ENTER)
            driver.find_element(By.CSS_SELECTOR, ".filters .count")
            self.assertIn("actor=alice", driver.current_url)

        await self.browse(visit)

    async def test_times(self) -> None:
        """The page's script shows times in the reader's zone."""

        def visit(driver: Chrome) -> None:
            driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tokyo"})
            self.sign_in(driver)
            self.assertIn("Asia/Tokyo", driver.find_element(By.TAG_NAME, "footer").text)
            time = driver.find_element(By.CSS_SELECTOR, "tbody time")
            moment = datetime.fromisoformat(time.get_attribute("datetime") or "") + timedelta(hours=9)
            self.assertTrue(time.text.endswith(f"{moment:%H:%M}"), (time.text, moment))

        await self.browse(visit)

    async def test_accessible(self) -> None:
        """In a wide light window and a narrow dark one, axe finds no fault in any page: contrast, labels, headings, landmarks."""

        def visit(driver: Chrome) -> None:
            self.sign_in(driver)
            driver.get(self.base + "/sessions")
            session = driver.find_element(By.CSS_SELECTOR, "tbody th a").get_attribute("href") or ""
            paths = (
                "/",
                "/people",
                "/models",
                "/tools",
                "/interceptions",
                "/search",
                "/keys",
                "/budgets",
                "/sessions?actor=bob",
            )
            for scheme, width in (("light", 1280), ("dark", 420)):
                feature = {"name": "prefers-color-scheme", "value": scheme}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
                driver.set_window_size(width, 900)
                for page in (*(self.base + path for path in paths), session):
                    driver.get(page)
                    driver.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true })")
                    found = Axe().run(driver)["violations"]
                    faults = [(each["id"], each["nodes"][0]["html"][:200]) for each in found]
                    self.assertEqual(faults, [], (page, scheme, width))

        await self.browse(visit)


del WithPages
