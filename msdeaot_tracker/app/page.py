"""The page's layout, and which action belongs to which component."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gradio as gr

from .actions import BESIDE, CORNER, ON, Actions, told
from .downloads import KINDS, MASKS, VIDEO

TITLE = "msdeaot"
CSS = """
#picture img { max-height: 60vh !important; cursor: crosshair; }
#status progress { width: 100%; height: 0.6em; appearance: none; border: none; }
#status progress, #status progress::-webkit-progress-bar { background: var(--border-color-primary); }
#status progress::-webkit-progress-value { background: var(--color-accent); }
#status progress::-moz-progress-bar { background: var(--color-accent); }
"""
# A click with shift or the right button means the background, whatever the mode.
HEAD = """<script>
document.addEventListener("pointerdown", e => { window.msdeaotBeside = e.shiftKey || e.button === 2; }, true);
document.addEventListener("contextmenu", e => {
  const picture = e.target.closest("#picture img");
  if (!picture) return;
  e.preventDefault();
  window.msdeaotBeside = true;
  picture.dispatchEvent(new MouseEvent("click", { bubbles: true, clientX: e.clientX, clientY: e.clientY }));
}, true);
</script>"""
CLICK_JS = f"(frame, object, way) => [frame, object, window.msdeaotBeside ? {BESIDE!r} : way]"
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])  # none from afar


def build_page(actions: Actions, listed: Callable[[], list[str]] | None) -> gr.Blocks:
    """listed: the videos to choose from in the allowed folders; None where there are no such folders."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as page:
        parts: dict[str, Any] = {}
        with gr.Accordion("Open a video", open=True) as parts["opener"]:
            parts["upload"] = upload = gr.File(label="A video file", height=120, elem_id="upload")
            if listed is not None:
                with gr.Row(equal_height=True):
                    path = gr.Dropdown(
                        listed(),
                        value=None,
                        label="Or one on the server",
                        allow_custom_value=True,
                        scale=4,
                        elem_id="path",
                    )
                    open_path = gr.Button("Open", elem_id="open", scale=0, min_width=100)
        parts["about"] = gr.Markdown("", elem_id="about")
        with gr.Row(visible=False) as parts["work"]:
            with gr.Column(scale=3, min_width=320):
                _picture_column(parts)
            with gr.Column(scale=1, min_width=280):
                _side_column(parts)
        bind = functools.partial(_bind, parts)
        opened = ["opener", "work", "frame", "about", "downloads", "object", "name", "colour", "picture", "status"]
        bind(upload.upload, actions.open_upload, [upload], ["upload", *opened], show_progress_on=[parts["about"]])
        if listed is not None:
            bind(open_path.click, actions.open_path, [path], opened, show_progress_on=[parts["about"]])
            page.load(lambda: gr.update(choices=listed()), outputs=path, api_visibility="private")
        _bind_work(parts, bind, actions)
        page.unload(actions.leave)
    return page


def _picture_column(parts: dict[str, Any]) -> None:
    parts["picture"] = gr.Image(
        interactive=False, show_label=False, format="jpeg", buttons=[], elem_id="picture", alt_text="the frame"
    )
    parts["frame"] = gr.Slider(0, 1, value=0, step=1, label="Frame", elem_id="frame")
    parts["status"] = gr.Markdown("", elem_id="status")
    with gr.Row():
        parts["track"] = gr.Button("Track", variant="primary", min_width=120, elem_id="track")
        parts["stop"] = gr.Button("Stop", variant="stop", min_width=120, elem_id="stop")


def _side_column(parts: dict[str, Any]) -> None:
    parts["way"] = gr.Radio(
        [ON, BESIDE, CORNER],
        value=ON,
        label="A click is",
        info="With shift or the right button it is always beside the object.",
        elem_id="way",
    )
    parts["undo"] = gr.Button("Undo click", size="sm", elem_id="undo")
    parts["object"] = gr.Radio([], label="Object", elem_id="object")
    with gr.Row():
        parts["name"] = gr.Textbox(label="Name", max_lines=1, max_length=40, scale=3, min_width=120, elem_id="name")
        parts["colour"] = gr.ColorPicker(label="Colour", scale=1, min_width=80, elem_id="colour")
    with gr.Row():
        parts["add"] = gr.Button("New object", size="sm", min_width=100, elem_id="add")
        parts["remove"] = gr.Button("Remove it", size="sm", min_width=100, elem_id="remove")
    with gr.Accordion("Download", open=False, elem_id="download-room"):
        parts["kinds"] = gr.CheckboxGroup(
            [(summary, kind) for kind, summary in KINDS.items()],
            value=[VIDEO, MASKS],
            show_label=False,
            elem_id="kinds",
        )
        parts["download"] = gr.Button("Write files", elem_id="download")
        parts["downloads"] = gr.File(
            label="Files", file_count="multiple", interactive=False, visible=False, elem_id="downloads"
        )


def _bind_work(parts: dict[str, Any], bind: Callable, actions: Actions) -> None:
    frame, chosen, painted = parts["frame"], parts["object"], [parts["name"], parts["colour"]]
    shown, object_parts = ["picture"], ["object", "name", "colour"]
    quick = {"show_progress": "hidden"}
    bind(frame.input, actions.look, [frame], shown, trigger_mode="always_last", **quick)
    bind(
        parts["picture"].select,
        actions.click,
        [frame, chosen, parts["way"]],
        [*shown, "status"],
        js=CLICK_JS,
        trigger_mode="multiple",  # none is lost while an earlier one's mask is made
        show_progress_on=[parts["status"]],
        show_progress="minimal",
    )
    bind(parts["undo"].click, actions.undo, [frame, chosen], shown, **quick)
    bind(parts["add"].click, actions.add, [], [*object_parts, "status"], **quick)
    bind(chosen.input, actions.choose, [chosen], object_parts, **quick)
    for event in (parts["name"].submit, parts["name"].blur, parts["colour"].input):
        bind(event, actions.paint, [frame, chosen, *painted], ["object", *shown], trigger_mode="always_last", **quick)
    bind(parts["remove"].click, actions.remove, [frame, chosen], [*object_parts, *shown], **quick)
    bind(parts["track"].click, actions.track, [frame], ["frame", "picture", "status"], **quick)
    bind(parts["stop"].click, actions.stop, [], [], queue=False)
    bind(
        parts["download"].click, actions.download, [parts["kinds"]], ["downloads"], show_progress_on=[parts["download"]]
    )


def _bind(
    parts: dict[str, Any], event: Callable, action: Callable, inputs: list, outputs: list[str], **options: Any
) -> None:
    """Let an event call an action, whose answer names the components that change."""

    def by_component(answer: dict[str, Any] | None) -> dict[Any, Any] | None:
        return {parts[name]: value for name, value in answer.items()} if answer else None

    shown = [parts[name] for name in outputs]
    event(told(action, by_component), inputs, shown, api_visibility="private", **options)
