"""The toolbox in a real browser, as a person uses it. The models are fakes that answer at once."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT
from utils.data import audio

pytest.importorskip("gradio", reason="pip install -r requirements-toolbox.txt")
pytest.importorskip("selenium", reason="pip install -r requirements-toolbox.txt")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium: apt install chromium chromium-driver")

VOICE = ROOT / "samples/LibriSpeech/test-clean/90005/100050/90005-100050-0000.flac"
OTHER_VOICE = ROOT / "samples/LibriSpeech/test-clean/90012/100121/90012-100121-0000.flac"
NASTY = '<img src=x onerror="window.hacked=1">${window.hacked=1}{{window.hacked}}'
CONTRAST = (ROOT / "tests/demo/contrast.js").read_text(encoding="utf-8")
LONGEST = 90  # s that anything may take on a busy machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address, folder of the models and of `connections`)"""
    folder, port = tmp_path_factory.mktemp("toolbox"), free_port()
    command = [sys.executable, "-u", "-m", "tests.demo.toolbox_server", str(folder), str(port)]
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}  # another toolbox may be open on this machine
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
    )
    printed: list[str] = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("The toolbox is at"):
            break
    assert process.poll() is None, "".join(printed)
    yield f"http://127.0.0.1:{port}", folder
    process.terminate()
    rest = process.communicate(timeout=LONGEST)[0]
    assert "Traceback" not in rest, rest
    assert process.returncode == 0
    assert not sessions(folder), "files are left"


def sessions(folder: Path) -> list[Path]:
    """The folders of the server's sessions that are open."""
    return [path for path in folder.glob("sv2tts-toolbox-*/*") if path.name != "uploads"]


class Page:
    """A browser tab with the toolbox, without a network but this machine."""

    def __init__(self, address: str, downloads: Path) -> None:
        from selenium import webdriver

        self.address, self.downloads = address, downloads
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1400"),
            *("--use-fake-device-for-media-stream", "--disable-background-networking", "--mute-audio"),
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.allow_microphone("granted")

    def allow_microphone(self, setting: str) -> None:
        asked = {"permission": {"name": "microphone"}, "setting": setting, "origin": self.address}
        self.driver.execute_cdp_cmd("Browser.setPermission", asked)

    def open(self) -> "Page":
        self.driver.get(self.address)
        self.find("#speak")
        return self

    def until(self, holds: Callable):
        """What it gives once that is true."""
        from selenium.common.exceptions import WebDriverException

        end, problem = time.monotonic() + LONGEST, None
        while time.monotonic() < end:
            try:
                if found := holds():
                    return found
            except WebDriverException as error:  # an element that was replaced at this moment
                problem = error
            time.sleep(0.05)
        raise AssertionError(f"still not so; the page says {self.toasts()} and {self.text('#status')!r}; {problem}")

    def all(self, css: str) -> list:
        return [each for each in self.driver.find_elements("css selector", css) if each.is_displayed()]

    def find(self, css: str, text: str = ""):
        return self.until(lambda: next((each for each in self.all(css) if text in each.text), None))

    def text(self, css: str) -> str:
        return " ".join(each.text for each in self.all(css))

    def script(self, code: str):
        return self.driver.execute_script(code)

    def click(self, css: str, text: str = "") -> None:
        self.until(lambda: self.find(css, text).click() or True)

    def tab(self, name: str) -> None:
        self.click("button[role=tab]", name)

    def upload(self, *files: Path) -> None:
        self.tab("Upload")
        self.find("#upload", "Drop File Here")  # nothing is left of the upload before
        inputs = "#upload input[type=file]"
        self.until(lambda: self.driver.find_elements("css selector", inputs))[0].send_keys("\n".join(map(str, files)))

    def voice(self, *files: Path) -> None:
        """Upload a voice and wait for it."""
        before = self.text("#voice-view .tb-card")  # without what Gradio shows around it while it works
        self.upload(*files)
        self.until(lambda: self.text("#voice-view .tb-card") not in ("", before))

    def write(self, text: str) -> None:
        from selenium.webdriver.common.keys import Keys

        box = self.find("#text textarea")
        box.send_keys(Keys.CONTROL, "a", Keys.DELETE)
        if text:
            self.driver.execute_script(
                "const [box, text] = arguments; box.value = text; box.dispatchEvent(new Event('input', {bubbles: true}))",
                box,
                text,
            )
            time.sleep(0.2)  # until Gradio has taken it

    def say(self, text: str) -> None:
        before = self.text("#history li:first-child b")
        self.write(text)
        self.click("#speak")
        self.until(lambda: self.text("#history li:first-child b") != before)
        self.find("#status", "Said:")

    def name(self, name: str) -> None:
        """Type it, and leave the cursor there."""
        from selenium.webdriver.common.keys import Keys

        self.find("#voice-name textarea, #voice-name input").send_keys(Keys.CONTROL, "a", Keys.DELETE, Keys.NULL, name)

    def value(self, css: str) -> str:
        return self.find(f"{css} input, {css} textarea").get_attribute("value")

    def looks(self, width: int, is_dark: bool) -> None:
        """The width of the page in pixels, and its theme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.script(f"document.body.classList.toggle('dark', {json.dumps(is_dark)})")
        time.sleep(0.5)  # until colours have faded over

    def toasts(self) -> str:
        return self.text(".toast-body")

    def told(self, *said: str) -> None:
        """There is one message, and it says this."""
        self.until(lambda: all(part in self.toasts() for part in said))
        assert self.script("return document.querySelectorAll('[data-testid=toast-text]').length") == 1
        self.script("document.querySelectorAll('.toast-close').forEach((button) => button.click())")
        self.until(lambda: not self.script("return document.querySelectorAll('.toast-body').length"))

    def downloaded(self, suffix: str) -> Path:
        return self.until(lambda: next(iter(self.downloads.glob(f"*{suffix}")), None))


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    page = Page(server[0], tmp_path_factory.mktemp("downloads"))
    yield page
    page.driver.quit()
    if sessions(server[1]):
        end = time.monotonic() + LONGEST
        while sessions(server[1]) and time.monotonic() < end:  # the server notices that the tab is gone
            time.sleep(0.2)
    assert not sessions(server[1]), "a closed tab leaves files"


def test_a_newcomer_uploads_a_voice_speaks_looks_compares_and_downloads(page, tmp_path):
    page.open().voice(VOICE)
    assert "s of speech" in page.text("#voice-view") and page.all("#voice-view .tb-mel") and page.all("#voice-view .tb-wave")
    page.write(f"I have 12 sentences. {'They are short. ' * 11}\nAnother line ☃ is here, and it is longer.")
    page.click("#read")
    page.find("#reading", "Not read")
    page.click("#speak")
    page.find("#status", "Said:")
    assert page.until(lambda: page.script("return toolbox.heardAfter")) < 13  # before all was made
    rows = [each.text for each in page.all("#history li")]
    assert len(rows) == 2 and "Another line" in rows[0] and "I have 12" in rows[1]
    assert page.script("return toolbox.pieces") == 13

    from selenium.webdriver.common.action_chains import ActionChains

    picture = page.find("#look .tb-alignment")
    page.script("document.querySelector('#look .tb-alignment').scrollIntoView({block: 'center', behavior: 'instant'})")
    ActionChains(page.driver).move_to_element_with_offset(picture, 0, picture.size["height"] // 2 - 2).perform()
    page.find("#look .tb-readout", "symbol under the pointer: “A” (1 of ")
    assert "Cosine to the reference" in page.text("#look")
    assert len(page.all("#look .tb-heat img")) == 2

    page.click("#history li:last-child [data-do=again]")
    page.find("#history li:first-child", "3 I have 12 sentences")
    page.find("#status", "Said:")
    assert [each.text[:1] for each in page.all("#history .tb-what")] == ["3", "2", "1"]
    page.click("#history li:last-child [data-do=show]")
    page.find("#look h3", "1 · ")
    page.script("document.querySelector('#look .tb-mel').click()")
    page.until(lambda: page.script("return !document.querySelector('#look audio').paused"))

    page.tab("Compare")
    page.find("#left h3", "2 · ")
    assert page.find("#right h3", "3 · ") and "seed" in page.text("#right .tb-facts")
    page.click("#zip")
    assert page.downloaded(".zip").name == "toolbox.zip"
    with zipfile.ZipFile(page.downloaded(".zip")) as archive:
        names = archive.namelist()
    assert len([name for name in names if name.endswith(".wav")]) == 4 and "said.csv" in names
    assert f"voices/{VOICE.stem}.voice" in names and len([name for name in names if name.endswith(".png")]) == 3


def test_voices_are_named_saved_loaded_again_and_shown_on_the_map(page):
    page.open().voice(VOICE)
    page.name(NASTY[:40])
    page.click("#speak")  # leaves the name
    page.find("#status", "Said:")
    page.find("#voice-view h3", NASTY[:40])
    page.name("Anna")
    page.click("#save-voice")
    page.find("#voice-view h3", "Anna")
    assert page.downloaded(".voice").name == "Anna.voice"
    page.voice(page.downloaded(".voice"))
    assert "Loaded from a file" in page.text("#voice-view") and VOICE.name in page.text("#voice-view")
    page.voice(VOICE, OTHER_VOICE)
    assert OTHER_VOICE.name in page.text("#voice-view")
    page.say(NASTY)
    assert NASTY in page.text("#look .tb-quote") and not page.script("return window.hacked")
    page.tab("Browse")
    page.until(lambda: page.script("return document.querySelector('#dataset input').value"))
    page.click("#random")
    page.find("#voice-view", "From 9")
    page.until(lambda: f"{page.value('#utterance')}." in page.text("#voice-view"))  # the lists are filled in their own time
    assert page.value("#speaker") in page.value("#utterance")
    page.tab("Map")
    page.find("#map", "PCA of 6 embeddings")
    assert len(page.all("#map rect")) == 4 and len(page.all("#map circle")) == 2
    page.script("document.querySelector('#map circle').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    page.find("#map .tb-playing")


def test_the_seed_stays_empty_until_one_is_written_and_the_status_is_of_the_last_text(page):
    page.open().voice(VOICE)
    page.click("#options button")
    assert page.value("#seed") == "" and not page.find("#stop").is_enabled()
    page.say("One.")
    page.say("Two.")
    seeds = re.findall(r"seed (\d+)", page.text("#history"))
    assert len(seeds) == len(set(seeds)) == 2
    for seed, said in (("7.5", "The seed must be a whole number"), ("41", "")):
        page.find("#seed input, #seed textarea").clear()
        page.find("#seed input, #seed textarea").send_keys(seed)
        if said:
            page.click("#speak")
            page.told(said, seed)
            page.find("#status", "Nothing was said.")
    page.say("Three.")
    assert "seed 41" in page.text("#history li:first-child")


def test_what_would_be_lost_is_asked_about(page):
    def asks() -> bool:
        return page.script("return toolbox.unsaved.size > 0")

    page.open()
    assert not asks()
    page.voice(VOICE)
    page.until(asks)
    leave = "const leave = new Event('beforeunload', {cancelable: true}); dispatchEvent(leave); return leave.defaultPrevented"
    assert page.script(leave)
    page.say("Whoever stays loses nothing.")
    page.click("#look a[download]")
    page.click("#save-voice")
    page.until(lambda: not asks())
    page.say("This is new.")
    page.until(asks)
    page.tab("Compare")
    page.click("#zip")
    page.until(lambda: not asks())
    page.tab("Speak")
    assert not asks()


def test_everything_can_be_read_in_light_and_dark_on_a_large_screen_and_a_small_one(page):
    page.open().looks(400, False)
    page.voice(VOICE)
    assert not page.all("#voice-view .tb-mel")  # which would push the text away
    assert page.find("#save-voice").size["height"] < 60  # one line
    page.say("A text that is so long that it does not fit into a row of the history on a small screen.\nAnother.")
    details = "[...document.querySelectorAll('#history small')].every((each) => each.scrollWidth <= each.clientWidth)"
    assert page.script(f"return {details}") and "seed" in page.text("#history small")
    page.click("#options button")
    for tab, shown in (("Speak", "#look h3"), ("Compare", "#left h3"), ("Map", "#map rect"), ("Models", "#use-models")):
        page.tab(tab)
        page.find(shown)
        for is_dark in (False, True):
            for width in (400, 1400):
                page.looks(width, is_dark)
                assert not page.script(CONTRAST), (tab, is_dark, width)
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.script("document.body.classList.remove('dark')")


def test_a_voice_is_recorded(page):
    page.open().tab("Record")
    page.click("#record button", "Record")
    page.find("#record button", "Stop")
    assert not page.script(CONTRAST)
    time.sleep(3)  # s of the beeps that the fake microphone hears
    page.click("#record button", "Stop")
    page.find("#voice-view h3", "recording")
    assert "s of speech" in page.text("#voice-view") and page.all("#voice-view audio")


def test_a_refused_microphone_is_told(page):
    page.allow_microphone("denied")
    page.open().tab("Record")
    page.click("#record button", "Record")
    page.find("#microphone", "does not allow this page to use the microphone")
    page.allow_microphone("granted")


def test_each_mistake_costs_one_message_and_the_page_goes_on(page, tmp_path):
    def recording(name: str, wav: np.ndarray) -> Path:
        audio.write_wav(tmp_path / name, wav.astype(np.float32))
        return tmp_path / name

    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    page.open().click("#speak")
    page.find(".toast-body", "Choose a voice first")  # and the next message takes its place
    for path, said in {
        write("text.wav", b"These are words."): "text.wav: cannot be decoded",
        write("empty.mp3", b""): "empty.mp3: is empty",
        write("a<b>.voice", b"no voice"): "ab.voice: is not a voice file, or is damaged",
        recording("silence.wav", np.zeros(48000)): "silence.wav: no speech found",
        recording("short.wav", np.ones(1600) / 9): "short.wav: is 0.10 s long; at least 0.5 s are needed",
    }.items():
        page.upload(path)
        page.told(said)
    speech = audio.load(VOICE)
    page.voice(recording("long.wav", np.resize(speech, 660 * 16000)))
    assert "only its first 10 minutes are used" in page.text("#voice-view")
    page.voice(recording("distorted.wav", np.clip(30 * speech, -1, 1)))
    assert "distorted" in page.text("#voice-view .tb-note")
    page.write("")
    page.click("#speak")
    page.told("Write a text first")
    page.write("?!")
    page.click("#speak")
    page.told("Nothing to read in the text '?!'")
    page.write("many words " * 5000)
    page.click("#speak")
    page.told("This text has 10,000 words in 1 line;", "at most 2,000 words", "demo_cli.py --text_file")
    page.say("It goes on.")


def test_a_second_click_is_told_and_a_stop_keeps_what_was_said(page):
    page.open().voice(VOICE)
    page.write("This is a sentence. " * 200)
    page.click("#speak")
    page.find("#status", "of 200 pieces")
    assert page.find("#stop").is_enabled()
    played = page.script("return toolbox.run")
    page.click("#speak")
    page.told("It is still speaking")
    assert page.script("return toolbox.run") == played
    page.click("#stop")
    page.find("#status", "Stopped after")
    page.until(lambda: not page.find("#stop").is_enabled())
    assert "Stopped before its end." in page.text("#look") and len(page.all("#history li")) == 1
    page.say("It goes on.")


def test_two_tabs_speak_at_the_same_time_and_know_nothing_of_each_other(page, server):
    page.open().voice(VOICE)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.open()
    assert not page.all("#voice-view .tb-card")
    page.voice(OTHER_VOICE)
    page.write("A sentence of the second tab. " * 12)
    page.click("#speak")
    page.find("#status", "of 12 pieces")
    second = page.driver.current_window_handle
    page.driver.switch_to.window(first)
    page.say("The first tab.")
    assert "second" not in page.text("#history")
    n_open = len(sessions(server[1]))
    page.driver.switch_to.window(second)
    page.driver.close()  # while it speaks
    page.driver.switch_to.window(first)
    page.until(lambda: len(sessions(server[1])) == n_open - 1)


def test_models_are_chosen_and_those_that_do_not_fit_are_refused(page, server):
    def choose(stage: str, run: str) -> None:
        page.click(f"#{stage} input")
        page.click(f"#{stage} li, .options li", run)

    page.open().tab("Models")
    assert "default · step 1 · 0." in page.until(lambda: page.script("return document.querySelector('#vocoder input').value"))
    for stage, run, said in (
        ("encoder", "damaged", "cannot be read as a checkpoint"),
        ("encoder", "default", "In use: encoder default"),
        ("vocoder", "foreign", "The vocoder reads other mels than the synthesizer makes"),
    ):
        choose(stage, run)
        page.click("#use-models")
        page.find("#models-result", said)
        assert str(server[1]) not in page.text("#models-result")


def test_nothing_leaves_this_machine_and_no_error_is_logged(page, server):
    """Over all tests before."""
    requests = set()
    for entry in page.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requests.add(message["params"]["request"]["url"])
    own = (server[0], "data:", "blob:")
    assert len(requests) > 20 and not {url for url in requests if not url.startswith(own)}
    assert not (server[1] / "connections").exists()
    assert not [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_only_the_sessions_files_are_served_and_a_password_is_asked_for(tmp_path, capsys):
    from demo.config import CloningSettings
    from demo.toolbox import page as toolbox
    from demo.toolbox.answers import Answers
    from demo.toolbox.models import Models
    from demo.toolbox.session import Sessions
    from demo.toolbox.voices import Browser
    from synthesizer.config import ReadingSettings
    from tests.demo.toolbox_server import DEFAULT

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=LONGEST) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code

    sessions, models = Sessions(DEFAULT), Models(tmp_path, True, CloningSettings(), ReadingSettings())
    sound = sessions.of("a tab").new_file(".wav")
    sound.write_bytes(b"sound")
    outside = tmp_path / "other.wav"
    outside.write_bytes(b"sound")
    for password in (None, "secret"):
        port = free_port()
        page = toolbox.build(Answers(models, Browser(ROOT / "samples"), sessions))
        toolbox._launch(page, sessions.folder, "0.0.0.0", port, password, show=False)
        assert ("--password" in capsys.readouterr().out) == (password is None)
        assert status(f"gradio_api/file={sound}") == (401 if password else 200)
        for path in (outside, "/etc/passwd", ROOT / "README.md", f"{sound.parent}/../../../etc/passwd"):
            assert status(f"gradio_api/file={path}") in (401, 403, 404), path
        assert status("config") == (401 if password else 200)
        page.close(verbose=False)
    sessions.close_all()
