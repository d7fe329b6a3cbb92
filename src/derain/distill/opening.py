"""From names in settings to models behind doors, and from the name of a preset to settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Literal

from derain.distill.describe.unused import UnusedDoor
from derain.distill.doors import Captioner, Expander, Judge, KeywordExtractor, TextEncoder, VisualEncoder
from derain.distill.endpoint import without_secrets
from derain.distill.judges.bias import BiasedJudge
from derain.distill.knowledge.indexing import IndexModels
from derain.distill.models import Models, Remember, without_memory
from derain.distill.pipeline.engine import stage_names
from derain.distill.settings import DescribeSettings, DistillSettings
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
        wanted = " or ".join(forms[kind] for kind in kinds)
        raise SettingsError(f"{key}: {without_secrets(text)!r} names no model; wanted {wanted}")


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


def open_models(settings: DistillSettings, remember: Remember = without_memory) -> Models:
    """All doors of a run that its variant asks. Large models load their weights when they are first asked.

    Args:
        remember: what judges that look at visual vectors are given the encoder through.

    Raises:
        SettingsError: a name is no model's.
        ModelError: a model cannot be had.
        MissingExtraError: a package is missing.
    """
    describe, stages = settings.describe, stage_names(settings.variant, 0)
    unused = UnusedDoor()
    text_encoder = _open_text_encoder(describe) if "caption" in stages else unused
    visual_encoder = _open_visual_encoder(describe) if "embed" in stages else unused
    return Models(
        _open_captioner(describe) if "caption" in stages else unused,
        _open_expander(describe) if "caption" in stages else unused,
        _open_keywords(describe, text_encoder) if "caption" in stages else unused,
        text_encoder,
        visual_encoder,
        open_judges(settings, remember),
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


def open_judges(settings: DistillSettings, remember: Remember = without_memory) -> tuple[Judge, ...]:
    """The judges of a run, with their biases.

    Args:
        remember: what a judge that looks at visual vectors is given the encoder through.

    Raises:
        SettingsError: a bias is given for a judge that the run does not have; else as `open_models`.
    """
    names, biases = settings.judging.judges, settings.judging.bias
    for name in biases:
        if name not in names:
            shown = [without_secrets(each) for each in names]
            nearest = get_close_matches(without_secrets(name), shown, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(shown)}"
            raise SettingsError(f"judging.bias: {without_secrets(name)!r} is no judge of this run; {hint}")
    judges = [open_judge(name, settings, remember) for name in names]
    return tuple(
        BiasedJudge(judge, bias) if (bias := biases.get(name, 0.0)) else judge
        for name, judge in zip(names, judges, strict=True)
    )


def open_judge(text: str, run: DistillSettings, remember: Remember = without_memory) -> Judge:
    """The judge that a name of `judging.judges` means, without its bias; arguments and errors as `open_judges`."""
    settings = run.judging
    name = ModelName.parse(text, "judging.judges", ("builtin", "hf", "openai"))
    if name.kind == "hf":
        from derain.distill.judges.local import LocalJudge

        return LocalJudge(name.model, name.revision, device=settings.device)
    if name.kind == "openai":
        from derain.distill.judges.endpoint import EndpointJudge

        return EndpointJudge(name.url, name.model, settings.endpoint)
    from derain.distill.judges.pairing import PairingJudge
    from derain.distill.judges.rain_layer import RainLayerJudge
    from derain.distill.judges.typicality import TypicalityJudge

    match name.model:
        case "rain-layer":
            return RainLayerJudge()
        case "typicality":
            from derain.distill.describe.builtin_visual import BuiltinVisualEncoder

            # Whatever encoder the run retrieves by: what is typical was fitted on this one.
            return TypicalityJudge(remember(BuiltinVisualEncoder()))
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
