"""A captioner without a learned model: it puts into words what is measured on a picture.

It knows no objects. It describes how the scene is lit, how the rain looks and falls, how far one can see, and which
colours and edges there are; so that pictures with like light, rain and build get like sentences.
"""

from collections.abc import Sequence
from math import inf

from derain.backends.interfaces import Identity
from derain.backends.view import View
from derain.distill.measure.planes import luma8, shrunk
from derain.distill.measure.rain_form import FineStructure, fine_structure
from derain.distill.measure.rain_type import TypeGuess, classify
from derain.distill.measure.scene import LightMeasure, Scene, dominant, measure_light, measure_scene
from derain.types import RainType

Steps = tuple[tuple[float, str], ...]
"""(below this, these words), the last one below infinity."""

_DAYLIGHT: Steps = ((0.22, "very dim"), (0.35, "dim"), (0.5, "softly lit"), (0.65, "bright"), (inf, "very bright"))
_NIGHT: Steps = ((0.1, "very dark"), (0.2, "dark"), (0.32, "lamplit"), (inf, "brightly lit"))
_SKY: Steps = (
    (0.02, "no sky in view"),
    (0.15, "a strip of sky"),
    (0.35, "open sky above"),
    (inf, "a wide open sky"),
)
_VEIL: Steps = ((0.08, "clear air"), (0.2, "slight haze"), (0.38, "mist"), (inf, "thick mist"))
_BUSY: Steps = ((0.06, "plain"), (0.12, "sparsely detailed"), (0.24, "detailed"), (inf, "crowded, finely textured"))
_DENSITY: Steps = ((0.009, "faint"), (0.0115, "light"), (0.0135, "moderate"), (0.016, "dense"), (inf, "very dense"))
_LEAN: Steps = (
    (-35.0, "slanting far to the left"),
    (-12.0, "leaning to the left"),
    (12.0, "falling straight down"),
    (35.0, "leaning to the right"),
    (inf, "slanting far to the right"),
)
_LAMPS: Steps = ((1, ""), (3, "one or two bright lamps"), (10, "a few bright lamps"), (inf, "many bright lamps"))
_RAIN_LONGEST = 512
_STREAK_WIDTH = 3
_COHERENT = 0.1
"""Fine structure that runs one way less than this has no direction worth telling."""
_FLATTEST_DEG = 60.0
"""What leans further than this belongs to the scene: rain does not fall so flat."""


class BuiltinCaptioner:
    """A captioner that needs no model and no extra."""

    @property
    def batch_size(self) -> int:
        return 8

    @property
    def identity(self) -> Identity:
        return Identity("builtin-captioner", "1", {})

    def caption(self, views: Sequence[View]) -> list[str]:
        """Two sentences for each picture, the same for the same pixels."""
        return [caption_of(view) for view in views]


def caption_of(view: View) -> str:
    """Measure a picture and put it into words."""
    luma = luma8(shrunk(view.pixels, _RAIN_LONGEST))
    missing = -(-8 // min(luma.shape))
    fine = fine_structure(luma.repeat(missing, axis=0).repeat(missing, axis=1), _STREAK_WIDTH)
    return sentences(classify(view), measure_light(view), measure_scene(view), fine)


def sentences(guess: TypeGuess, light: LightMeasure, scene: Scene, fine: FineStructure) -> str:
    """The caption of what was measured."""
    shown = f"A {light_words(guess, light)} photograph of {place_words(scene)}"
    first = f"{shown} in the rain, with {rain_words(guess, fine)}"
    lamp = step(_LAMPS, scene.lamp_count) if guess.light == "night" else ""
    if lamp:
        first += f" and {lamp}"
    colours = " and ".join(dominant(scene.colours, 0.15, 2)) or "grey"
    return f"{first}. {step(_SKY, scene.sky_share).capitalize()}, {step(_VEIL, scene.veil)}, {colours} colours."


def light_words(guess: TypeGuess, light: LightMeasure) -> str:
    """Brightness and time of day."""
    if guess.light == "night":
        return f"{step(_NIGHT, light.mean)} night"
    tone = " overcast" if light.saturation < 0.12 else ""
    return f"{step(_DAYLIGHT, light.mean)}{tone} daytime"


def place_words(scene: Scene) -> str:
    """What the edges and the greens hint at."""
    shares = dict(scene.colours)
    green = shares.get("green", 0.0) + 0.5 * shares.get("yellow", 0.0)
    busy = step(_BUSY, scene.busyness)
    if scene.straightness >= 0.38 and scene.busyness >= 0.03:
        kind = "scene of buildings with straight edges" + (" and greenery" if green >= 0.15 else "")
    elif green >= 0.3:
        kind = "green scene of trees and grass"
    elif scene.sky_share >= 0.35:
        kind = "open landscape"
    elif green >= 0.12:
        kind = "scene with some greenery"
    else:
        kind = "scene"
    return f"a {busy} {kind}"


def rain_words(guess: TypeGuess, fine: FineStructure) -> str:
    """Drops on the glass, or how dense streaks are and which way they fall."""
    if RainType(guess.type).is_drop:
        return "water drops on the glass in front of the lens"
    density = step(_DENSITY, fine.amount)
    if fine.coherence < _COHERENT or abs(fine.tilt_deg) > _FLATTEST_DEG:
        return f"{density} rain in the air"
    return f"{density} rain streaks {step(_LEAN, fine.tilt_deg)}"


def step(steps: Steps, value: float) -> str:
    """The words for the first step that the value lies below."""
    return next(words for below, words in steps if value < below)
