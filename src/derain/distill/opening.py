"""From names in settings to models behind doors, and from the name of a preset to settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from derain.distill.doors import Captioner, Expander, Judge, KeywordExtractor, TextEncoder, VisualEncoder
from derain.distill.knowledge.indexing import IndexModels
from derain.distill.models import Models
from derain.distill.settings import DescribeSettings, DistillSettings, JudgeSettings
from derain.errors import SettingsError
from derain.settings import load_settings

PRESETS = ("offline", "native", "paper")
"""What `--preset` knows by name; each is a YAML file beside this one."""

Kind = Literal["builtin", "hf", "clip", "openai"]


@dataclass(frozen=True)
class ModelName:
    """A model as settings name it, such as `builtin:NAME`, `hf:MODEL[@REVISION]` or `openai:URL#MODEL`."""

    kind: str
    model: str
    revision: str | None = None
    url: str = ""

    @classmethod
    def parse(cls, text: str, key: str, kinds: Sequence[Kind]) -> "ModelName":
        """What a setting names.

        Args:
            key: the setting, for errors.
            kinds: what it may name.

        Raises:
            SettingsError: the text is of none of these kinds.
        """
        from derain.distill.describe.loading import parse_model

        kind, _, rest = text.partition(":")
        if kind in kinds and rest:
            if kind == "openai":
                url, _, model = rest.rpartition("#")
                if url and model:
                    return cls(kind, model, None, url)
            elif kind == "builtin":
                return cls(kind, rest)
            else:
                model, revision = parse_model(rest)
                return cls(kind, model, revision)
        forms = {
            "builtin": "builtin:NAME",
            "hf": "hf:MODEL[@REVISION]",
            "clip": "clip:MODEL[@REVISION]",
            "openai": "openai:URL#MODEL",
        }
        raise SettingsError(f"{key}: {text!r} names no model; wanted {' or '.join(forms[kind] for kind in kinds)}")


def preset_settings(preset: str, overrides: Sequence[str] = ()) -> DistillSettings:
    """The settings of a preset, or of a YAML file of one's own, with overrides such as `retrieval.k3=2`.

    Raises:
        SettingsError: there is no such preset or file, or a key or value is refused.
    """
    if preset in PRESETS:
        return load_settings(DistillSettings, preset_file(preset), overrides)
    path = Path(preset)
    if path.suffix not in (".yaml", ".yml"):
        raise SettingsError(f"no preset {preset!r}; wanted {', '.join(PRESETS)} or the path of a YAML file")
    return load_settings(DistillSettings, path, overrides)


def preset_file(preset: str) -> Path:
    """Where a preset lies, for `base:` in a file of one's own."""
    return Path(str(files("derain.distill") / "presets" / f"{preset}.yaml"))


def open_models(settings: DistillSettings) -> Models:
    """All doors of a run. Large models load their weights when they are first asked.

    Raises:
        SettingsError: a name is no model's.
        ModelError: a model cannot be had.
        MissingExtraError: a package is missing.
    """
    describers = open_describers(settings.describe)
    return Models(
        describers.captioner,
        describers.expander,
        describers.keywords,
        describers.text_encoder,
        describers.visual_encoder,
        tuple(open_judge(name, settings.judging, describers.visual_encoder) for name in settings.judging.judges),
    )


def open_describers(settings: DescribeSettings) -> IndexModels:
    """The doors that describe pictures; errors as `open_models`."""
    text_encoder = _open_text_encoder(settings)
    return IndexModels(
        _open_captioner(settings),
        _open_expander(settings),
        _open_keywords(settings, text_encoder),
        text_encoder,
        _open_visual_encoder(settings),
    )


def open_judge(text: str, settings: JudgeSettings, visual_encoder: VisualEncoder) -> Judge:
    """The judge that a name of `judging.judges` means; errors as `open_models`."""
    name = ModelName.parse(text, "judging.judges", ("builtin", "hf", "openai"))
    bias = settings.bias.get(text, 0.0)
    if name.kind == "hf":
        from derain.distill.judges.local import LocalJudge

        return LocalJudge(name.model, name.revision, bias=bias, device=settings.device)
    if name.kind == "openai":
        from derain.distill.judges.endpoint import EndpointJudge

        return EndpointJudge(name.url, name.model, settings.endpoint, bias=bias)
    from derain.distill.judges.pairing import PairingJudge
    from derain.distill.judges.rain_layer import RainLayerJudge
    from derain.distill.judges.typicality import TypicalityJudge

    match name.model:
        case "rain-layer":
            return RainLayerJudge()
        case "typicality":
            return TypicalityJudge(visual_encoder)
        case "pairing":
            return PairingJudge()
        case _:
            raise SettingsError(
                f"judging.judges: no built-in judge {name.model!r}; there are rain-layer, typicality and pairing"
            )


def _open_captioner(settings: DescribeSettings) -> Captioner:
    if settings.captioner == "builtin":
        from derain.distill.describe.builtin_captioner import BuiltinCaptioner

        return BuiltinCaptioner()
    name = ModelName.parse(settings.captioner, "describe.captioner", ("hf", "openai"))
    if name.kind == "hf":
        from derain.distill.describe.blip import BlipCaptioner

        return BlipCaptioner(name.model, name.revision, device=settings.device)
    from derain.distill.describe.endpoint import EndpointCaptioner
    from derain.distill.endpoint import ChatEndpoint

    return EndpointCaptioner(ChatEndpoint(name.url, name.model, settings.endpoint))


def _open_expander(settings: DescribeSettings) -> Expander | None:
    if settings.expander == "none":
        return None
    name = ModelName.parse(settings.expander, "describe.expander", ("hf", "openai"))
    if name.kind == "hf":
        from derain.distill.describe.chat_expander import ChatExpander

        return ChatExpander(name.model, name.revision, device=settings.device)
    from derain.distill.describe.endpoint import EndpointExpander
    from derain.distill.endpoint import ChatEndpoint

    return EndpointExpander(ChatEndpoint(name.url, name.model, settings.endpoint))


def _open_keywords(settings: DescribeSettings, text_encoder: TextEncoder) -> KeywordExtractor:
    from derain.distill.describe.keybert import KeyBertExtractor, WholeText
    from derain.distill.describe.minilm import MiniLmEncoder

    match settings.keywords:
        case "none":
            return WholeText()
        case "keybert":
            # The library's own choice of encoder, whichever encodes the description afterwards.
            return KeyBertExtractor(text_encoder if settings.text_encoder == "minilm" else MiniLmEncoder())
        case _:
            raise SettingsError(f"describe.keywords: {settings.keywords!r} is neither keybert nor none")


def _open_text_encoder(settings: DescribeSettings) -> TextEncoder:
    if settings.text_encoder == "minilm":
        from derain.distill.describe.minilm import MiniLmEncoder

        return MiniLmEncoder()
    name = ModelName.parse(settings.text_encoder, "describe.text_encoder", ("clip",))
    from derain.distill.describe.clip import ClipTextEncoder

    return ClipTextEncoder(name.model, name.revision, settings.device)


def _open_visual_encoder(settings: DescribeSettings) -> VisualEncoder:
    if settings.visual_encoder == "builtin":
        from derain.distill.describe.builtin_visual import BuiltinVisualEncoder

        return BuiltinVisualEncoder()
    name = ModelName.parse(settings.visual_encoder, "describe.visual_encoder", ("clip",))
    from derain.distill.describe.clip import ClipVisualEncoder

    return ClipVisualEncoder(name.model, name.revision, settings.device)
