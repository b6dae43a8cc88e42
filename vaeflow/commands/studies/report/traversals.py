"""The traversals of the best runs of a study, taken from their work folders."""

import io
import pathlib
import sys
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from vaeflow.commands.studies.report import choices, findings
from vaeflow.commands.studies.report.findings import Finding, Point
from vaeflow.runs import interpreter, processes, reading
from vaeflow.runs.escaping import printable

_MODEL = "train.model"
_SECONDS = 900.0  # For `vaeflow sample`.
_HEADING, _TEXT = 28, 15  # Pixels.
# Of what `vaeflow sample` draws, these alone are needed.
_QUICKLY = (
    "sample.samplers = [@PriorSampler()]",
    "sample.num_fit_examples = 1000",
    "sample.num_interpolations = 1",
)


def draw(
    found: Sequence[Point], ranked: Sequence[Finding], metric: str, folders: Mapping[str, pathlib.Path]
) -> dict[str, bytes]:
    """Draws the traversals of the best run, and where models differ of the best run of each.

    They come from the samples of the run, from its pictures during training, or where there are none
    from `vaeflow sample`. What is left out is named, for example where only the record of a run is here.

    Args:
      found: the points of the study.
      ranked: its runs, the best first.
      metric: the measure by which they are ranked.
      folders: name of a run -> its work folder, whether it is there or not.

    Returns:
      Name of the file -> a PNG file.
    """
    settings = {each.name: point.settings for point in found for each in point.findings}
    best: dict[str, Finding] = {}
    for each in ranked:
        best.setdefault(settings[each.name].get(_MODEL, ""), each)
    drawn = {}
    for each in best.values():
        picture = _picture(folders[each.name])
        if picture is None:
            name = printable(each.name)
            place = printable(str(folders[each.name]))
            print(f"left out: the traversals of {name}, which are not in {place}", file=sys.stderr)
            continue
        measure = ", ".join(text for text in choices.title(metric) if text)
        heading = f"{findings.label(settings[each.name])}, seed {each.seed}; {measure}: "
        content = io.BytesIO()
        _with_heading(picture, printable(heading + f"{each.measures[metric]:.4g}")).save(content, "PNG")
        drawn[f"traversals_{each.name}.png"] = content.getvalue()
    return drawn


def _picture(workdir):
    """Returns the newest picture of traversals, made now if there is none; None if it cannot be read."""
    if not workdir.is_dir():
        return None
    if not (found := _found(workdir)):
        changes = [f"--gin_param={change}" for change in _QUICKLY]
        command = interpreter.command("vaeflow", "sample", f"--workdir={workdir}", *changes)
        processes.output(command, _SECONDS)
        found = _found(workdir)
    if not found:
        return None
    try:
        with reading.opened(found) as file, Image.open(file) as picture:
            return picture.convert("RGB")
    # Damaged files make Pillow raise nearly every class there is.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(printable(f"{found} cannot be read: {reason}"), file=sys.stderr)
        return None


def _found(workdir):
    drawn = workdir / "samples" / "traversals.png"
    trained = sorted((workdir / "images").glob("traversals-*.png"))
    return drawn if drawn.is_file() else next(reversed(trained), None)


def _with_heading(picture, heading):
    """Writes a line above a picture, which becomes as wide as the line."""
    font = ImageFont.load_default(size=_TEXT)
    width = max(picture.width, round(font.getlength(heading)) + 8)
    canvas = Image.new("RGB", (width, picture.height + _HEADING), "white")
    canvas.paste(picture, (0, _HEADING))
    ImageDraw.Draw(canvas).text((4, _HEADING // 2), heading, fill="#222222", font=font, anchor="lm")
    return canvas
