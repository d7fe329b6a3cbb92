"""All models of a run, opened by their names in settings; and settings by the name of a preset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Literal, Protocol

from derain.backends.endpoint_settings import without_secrets
from derain.backends.interfaces import Captioner, Expander, Identity, KeywordExtractor, TextEncoder, VisualEncoder
from derain.distill.describe.description import Describers
from derain.distill.describe.prompts import CAPTION_PROMPT, EXPANSION_PROMPT
from derain.distill.describe.unused import UNUSED, UnusedModel
from derain.distill.judges.bias import BiasedJudge
from derain.distill.judges.interface import Judge
from derain.distill.settings import DescribeSettings, DistillSettings, stage_names
from derain.errors import SettingsError
from derain.settings import load_settings

PRESETS = ("offline", "native", "paper")
"""What `--preset` knows by name; each is a YAML file beside this one."""

Kind = Literal["builtin", "hf", "clip", "openai"]


@dataclass(frozen=True)
class Models(Describers):
    """All models of a run; `UnusedModel` for those that the variant never asks."""

    judges: tuple[Judge, ...]
    """In the order in which a cascade asks them; no two have one name."""

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.judges]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"judging.judges: two judges are named {name!r}; name each judge once")

    def identities(self) -> dict[str, Identity]:
        """Of every model that is asked, by role: `captioner`, `expander` (where there is one), ..., `judge NAME`."""
        roles = ("captioner", "expander", "keywords", "text_encoder", "visual_encoder")
        describing = {role: getattr(self, role) for role in roles}
        found = {role: model.identity for role, model in describing.items() if model is not None}
        found = {role: identity for role, identity in found.items() if identity != UNUSED}
        return found | {f"judge {judge.name}": judge.identity for judge in self.judges}


CacheEncoder = Callable[[VisualEncoder], VisualEncoder]
"""Puts a cache in front of an encoder."""


def uncached(encoder: VisualEncoder) -> VisualEncoder:
    """The encoder itself."""
    return encoder


class ModelsFactory(Protocol):
    """Opens the models that settings name.

    It can be pickled (a function of a module, not a lambda), so that every process of a run opens its own; models that
    are large load their weights when they are first asked, for a process asks some of them only.
    """

    def __call__(self, settings: DistillSettings, cached: CacheEncoder = uncached) -> Models:
        """All models; judges that look at visual vectors are given their encoder through `cached`."""
        ...


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
        from derain.backends.loading import parse_model

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


def open_models(settings: DistillSettings, cached: CacheEncoder = uncached) -> Models:
    """All models of a run that its variant asks. Large models load their weights when they are first asked.

    Args:
        cached: what judges that look at visual vectors are given the encoder through.

    Raises:
        SettingsError: a name is no model's.
        ModelError: a model cannot be had.
        MissingExtraError: a package is missing.
    """
    describe, stages = settings.describe, stage_names(settings.variant, 0)
    unused = UnusedModel()
    text_encoder = _open_text_encoder(describe) if "caption" in stages else unused
    visual_encoder = _open_visual_encoder(describe) if "embed" in stages else unused
    return Models(
        _open_captioner(describe) if "caption" in stages else unused,
        _open_expander(describe) if "caption" in stages else unused,
        _open_keywords(describe, text_encoder) if "caption" in stages else unused,
        text_encoder,
        visual_encoder,
        open_judges(settings, cached),
    )


def open_describers(settings: DescribeSettings) -> Describers:
    """The models that describe pictures; errors as `open_models`."""
    text_encoder = _open_text_encoder(settings)
    return Describers(
        _open_captioner(settings),
        _open_expander(settings),
        _open_keywords(settings, text_encoder),
        text_encoder,
        _open_visual_encoder(settings),
    )


def open_judges(settings: DistillSettings, cached: CacheEncoder = uncached) -> tuple[Judge, ...]:
    """The judges of a run, with their biases.

    Args:
        cached: what a judge that looks at visual vectors is given the encoder through.

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
    judges = [open_judge(name, settings, cached) for name in names]
    return tuple(
        BiasedJudge(judge, bias) if (bias := biases.get(name, 0.0)) else judge
        for name, judge in zip(names, judges, strict=True)
    )


def open_judge(text: str, run: DistillSettings, cached: CacheEncoder = uncached) -> Judge:
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
            return TypicalityJudge(cached(BuiltinVisualEncoder()))
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
        from derain.backends.blip import BlipCaptioner

        return BlipCaptioner(name.model, name.revision, device=settings.device)
    from derain.backends.endpoint import ChatEndpoint
    from derain.backends.prompted import PromptedCaptioner

    return PromptedCaptioner(ChatEndpoint(name.url, name.model, settings.endpoint), CAPTION_PROMPT)


def _open_expander(settings: DescribeSettings) -> Expander | None:
    if settings.expander == "none":
        return None
    name = ModelName.parse(settings.expander, "describe.expander", ("hf", "openai"))
    if name.kind == "hf":
        from derain.backends.chat_expander import ChatExpander

        return ChatExpander(EXPANSION_PROMPT, name.model, name.revision, device=settings.device)
    from derain.backends.endpoint import ChatEndpoint
    from derain.backends.prompted import PromptedExpander

    return PromptedExpander(ChatEndpoint(name.url, name.model, settings.endpoint), EXPANSION_PROMPT)


def _open_keywords(settings: DescribeSettings, text_encoder: TextEncoder) -> KeywordExtractor:
    from derain.backends.keybert import KeyBertExtractor, WholeText
    from derain.backends.minilm import MiniLmEncoder

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
        from derain.backends.minilm import MiniLmEncoder

        return MiniLmEncoder()
    name = ModelName.parse(settings.text_encoder, "describe.text_encoder", ("clip",))
    from derain.backends.clip import ClipTextEncoder

    return ClipTextEncoder(name.model, name.revision, settings.device)


def _open_visual_encoder(settings: DescribeSettings) -> VisualEncoder:
    if settings.visual_encoder == "builtin":
        from derain.distill.describe.builtin_visual import BuiltinVisualEncoder

        return BuiltinVisualEncoder()
    name = ModelName.parse(settings.visual_encoder, "describe.visual_encoder", ("clip",))
    from derain.backends.clip import ClipVisualEncoder

    return ClipVisualEncoder(name.model, name.revision, settings.device)
