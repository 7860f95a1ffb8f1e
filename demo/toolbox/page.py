"""The page: what lies where, and which button calls which answer."""

import contextlib
import hmac
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from demo.config import CloningSettings
from demo.toolbox import views
from demo.toolbox.answers import Answers
from demo.toolbox.models import Models
from demo.toolbox.session import Sessions
from demo.toolbox.speaking import PAUSES
from demo.toolbox.voices import BEST, Browser
from synthesizer.config import SPEEDS, ReadingSettings
from utils import garbage
from utils.config import override, parse_overrides
from utils.errors import UserError

HERE = Path(__file__).parent
TEXT = "A few seconds of your speech are enough, and I say whatever you like."
LARGEST_UPLOAD = "1gb"  # an hour of stereo sound in 16 bit
CLICKED = """element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) trigger(button.dataset.do === 'again' ? 'retry' : 'select', {number: Number(button.dataset.number)});
});
"""
SHOWN = "watch('value', () => toolbox.shown(element));"


def build(answers: Answers, seed: int | None = None) -> gr.Blocks:
    """The page, with all its answers."""
    with gr.Blocks(title="SV2TTS toolbox", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(
            "<h1>Toolbox</h1><p>A few seconds of speech and any text: hear it in that voice, and look at how it was made.</p>",
            elem_classes="tb-head",
        )
        stream = gr.HTML(
            {}, html_template="", js_on_load="watch('value', () => toolbox.stream(props.value))", elem_classes="tb-unseen"
        )
        download = gr.HTML(
            {}, html_template="", js_on_load="watch('value', () => toolbox.download(props.value))", elem_classes="tb-unseen"
        )
        with gr.Tab("Speak"), gr.Row():
            with gr.Column(scale=2, min_width=320):
                voice = _voice_column(page, answers, download)
            with gr.Column(scale=3, min_width=320):
                _speech_column(answers, voice, stream, seed)
        with gr.Tab("Compare", elem_id="compare-tab") as compare_tab:
            _compare(answers, compare_tab, download)
        with gr.Tab("Map") as map_tab:
            drawing = gr.HTML(js_on_load="watch('value', () => requestAnimationFrame(toolbox.label))", elem_id="map")
            _quietly(map_tab.select, answers.map, None, drawing, show_progress="full")
        with gr.Tab("Models") as models_tab:
            _models(answers, models_tab)
        page.unload(answers.close)
    return page


def _quietly(listen: Callable, answer: Callable, inputs: Any, outputs: Any, **options: Any) -> Any:
    """Connect an event of the page with its answer; no other program is to call it."""
    settings = {"show_progress": "hidden", "api_visibility": "private"} | options
    return listen(answer, inputs, outputs, **settings)


def _voice_column(page: gr.Blocks, answers: Answers, download: gr.HTML) -> gr.Dropdown:
    gr.Markdown("### Voice")
    with gr.Tab("Record"):
        recording = gr.Audio(sources=["microphone"], type="filepath", show_label=False, elem_id="record")
        gr.HTML('<p class="tb-warning" id="microphone" role="alert" hidden></p>')
    with gr.Tab("Upload"):
        files = gr.File(file_count="multiple", show_label=False, height=130, elem_id="upload")
        gr.HTML(views.hint("Recordings of one person in any format, or a .voice file."))
    with gr.Tab("Browse"):
        dataset = gr.Dropdown([], label="Dataset", elem_id="dataset")
        speaker = gr.Dropdown([], label="Speaker", elem_id="speaker")
        utterance = gr.Dropdown([], label="Utterance", elem_id="utterance")
        with gr.Row():
            use = gr.Button("Use", elem_id="use-utterance", min_width=80)
            some = gr.Button("Random", elem_id="random", min_width=80)
    voice = gr.Dropdown([], label="Voices", elem_id="voice")
    with gr.Row():
        name = gr.Textbox(label="Name", max_length=60, max_lines=1, elem_id="voice-name", scale=3, min_width=140)
        save = gr.Button("Save .voice", elem_id="save-voice", scale=1, min_width=130)
    begin = views.hint(f"Record a voice, upload recordings, or browse. {BEST}")
    view = gr.HTML(begin, js_on_load=SHOWN, elem_id="voice-view")
    added = [voice, name, view]
    _quietly(files.upload, answers.upload, files, [*added, files], show_progress_on=view, show_progress="full")
    _quietly(
        recording.stop_recording, answers.record, recording, [*added, recording], show_progress_on=view, show_progress="full"
    )
    _quietly(use.click, answers.browse, [dataset, speaker, utterance], added, show_progress_on=view, show_progress="full")
    found = [speaker, utterance]
    _quietly(some.click, answers.random, dataset, [*found, *added], show_progress_on=view, show_progress="full")
    _quietly(voice.input, answers.choose, voice, [name, view])
    for event in (name.submit, name.blur):
        _quietly(event, answers.rename, [voice, name], added)
    _quietly(save.click, answers.save_voice, [voice, name], download)
    _quietly(_quietly(page.load, answers.datasets, None, dataset).then, answers.speakers, dataset, found)
    _quietly(dataset.input, answers.speakers, dataset, found)
    _quietly(speaker.input, answers.utterances, [dataset, speaker], utterance)
    return voice


def _speech_column(answers: Answers, voice: gr.Dropdown, stream: gr.HTML, first_seed: int | None) -> None:
    gr.Markdown("### Text")
    text = gr.Textbox(
        TEXT,
        lines=3,
        max_lines=12,
        show_label=False,
        placeholder="What to say, each line by itself. Shift-Enter speaks.",
        elem_id="text",
    )
    with gr.Row():
        speak = gr.Button("Speak", variant="primary", elem_id="speak", min_width=100)
        stop = gr.Button("Stop", variant="stop", elem_id="stop", min_width=100, interactive=False)
        read = gr.Button("How it is read", elem_id="read", min_width=130)
    with gr.Accordion("Options", open=False, elem_id="options"), gr.Row():
        first = "" if first_seed is None else str(first_seed)
        seed = gr.Textbox(first, label="Seed", placeholder="random", max_lines=1, elem_id="seed", min_width=150)
        speed = gr.Slider(*SPEEDS, 1.0, step=0.05, label="Speed", elem_id="speed", min_width=150)
        pauses = gr.Slider(*PAUSES, 1.0, step=0.1, label="Pauses", elem_id="pauses", min_width=150)
        sound = gr.Radio(["Vocoder", "Griffin-Lim"], value="Vocoder", label="Sound", elem_id="sound", min_width=150)
    status = gr.HTML(elem_id="status", elem_classes="tb-fits")
    reading = gr.HTML(elem_id="reading", elem_classes="tb-fits")
    history = gr.HTML(views.hint(views.NOTHING_SAID), js_on_load=CLICKED + SHOWN, elem_id="history")
    look = gr.HTML(elem_id="look", elem_classes="tb-fits")
    how, said = [voice, seed, speed, pauses, sound], [stream, status, stop, history, look]
    # Each page may say one text at a time, and pages take turns piece by piece: nothing waits in a queue.
    for event in (speak.click, text.submit):
        _quietly(event, answers.speak, [text, *how], said, concurrency_limit=None, trigger_mode="multiple")
    _quietly(history.retry, answers.again, how, said, concurrency_limit=None, trigger_mode="multiple")
    _quietly(history.select, answers.show, None, [history, look])
    stopping = {"queue": False, "js": "() => toolbox.stream({stopped: true})"}
    _quietly(stop.click, answers.stop, None, None, **stopping)
    _quietly(read.click, answers.as_read, text, reading)


def _compare(answers: Answers, tab: gr.Tab, download: gr.HTML) -> None:
    with gr.Row():
        first = gr.Dropdown([], label="First", elem_id="first", min_width=260)
        second = gr.Dropdown([], label="Second", elem_id="second", min_width=260)
        everything = gr.Button("Download all", elem_id="zip", scale=0, min_width=160)
    with gr.Row():
        with gr.Column(min_width=320):
            left = gr.HTML(elem_id="left")
        with gr.Column(min_width=320):
            right = gr.HTML(elem_id="right")
    _quietly(tab.select, answers.entries, [first, second], [first, second])
    for dropdown in (first, second):
        _quietly(dropdown.change, answers.compare, [first, second], [left, right])
    _quietly(everything.click, answers.archive, None, download)


def _models(answers: Answers, tab: gr.Tab) -> None:
    gr.HTML(views.hint("Runs in the folder of models. Only what changes is loaded."))
    with gr.Row():
        chosen = [
            gr.Dropdown([], label=stage.capitalize(), elem_id=stage, min_width=260)
            for stage in ("encoder", "synthesizer", "vocoder")
        ]
    with gr.Row():
        use = gr.Button("Use these", elem_id="use-models", scale=0, min_width=160)
    result = gr.HTML(elem_id="models-result")
    _quietly(tab.select, answers.models, None, chosen)
    _quietly(use.click, answers.use, chosen, result, show_progress="full")


def serve(
    datasets_root: Path,
    folder: Path,
    host: str,
    port: int,
    password: str | None,
    cpu: bool,
    hparams: str,
    show: bool,
    seed: int | None = None,
) -> None:
    """Load the first models and serve the page until Ctrl-C. Everything that was made is removed then."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of models")
    if not datasets_root.is_dir():
        raise UserError(f"{datasets_root}: no such folder; datasets_root is the folder that holds LibriSpeech, VoxCeleb1, ...")
    settings, reading = override(parse_overrides(hparams), CloningSettings(), ReadingSettings())
    _check_free(host, port)  # before the models are loaded, which takes long
    models = Models(folder, cpu, settings, reading)
    choice = models.first()
    models.cloner(choice)
    sessions = Sessions(choice)
    os.environ["GRADIO_TEMP_DIR"] = str(sessions.folder / "uploads")  # so that uploads go when the rest goes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        page = build(Answers(models, Browser(datasets_root), sessions), seed)
        _launch(page, sessions.folder, host, port, password, show)
        with contextlib.suppress(KeyboardInterrupt):
            page.block_thread()
    finally:
        sessions.close_all()


def _launch(page: gr.Blocks, files: Path, host: str, port: int, password: str | None, show: bool) -> None:
    garbage.look_as_usual()
    auth = None
    if password:
        auth = lambda user, given: hmac.compare_digest(given.encode(), password.encode())  # noqa: E731
    try:
        page.queue(api_open=False).launch(
            server_name=host,
            server_port=port,
            auth=auth,
            auth_message="Any name, and the password that the toolbox was started with.",
            allowed_paths=[str(files)],
            max_file_size=LARGEST_UPLOAD,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            inbrowser=show,
            quiet=True,
            prevent_thread_lock=True,
            theme=_theme(),
            css_paths=HERE / "page.css",
            head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        )
    except OSError as error:
        raise _port_error(host, port, error) from error
    print(f"The toolbox is at http://{host}:{port}. Ctrl-C ends it.", flush=True)
    if not password and not _is_local(host):
        print(
            f"warning: anyone who reaches port {port} of this computer can clone voices here and hear the recordings that can "
            "be browsed; start it with --password WORD",
            flush=True,
        )


def _theme() -> gr.themes.Base:
    """Text has a contrast of 4.5 or more, edges of controls 3 (WCAG 2.1, AA), in light and dark."""
    plain = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return plain.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        block_label_text_color="*primary_700",
        block_title_text_color="*primary_700",
        color_accent="*primary_600",
        background_fill_primary="*neutral_50",
        link_text_color_dark="*primary_300",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
        input_border_width="1px",
        input_border_color="*neutral_500",
        input_border_color_dark="*neutral_400",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_300",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_300",
        checkbox_label_background_fill_selected="*primary_600",
    )


def _check_free(host: str, port: int) -> None:
    """Raises UserError if nothing can listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _port_error(host, port, error) from error


def _port_error(host: str, port: int, error: OSError) -> UserError:
    return UserError(f"port {port} of {host} cannot be used ({error.strerror or error}); name another one with --port")


def _is_local(host: str) -> bool:
    """Whether only this computer reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
