"""What language models are asked when they describe a photograph for a comparison."""

from derain.backends.interfaces import VersionedPrompt

CAPTION_PROMPT = VersionedPrompt(
    "Describe this photograph in one plain sentence: what it shows, whether it is day or night, and what the rain in "
    "it looks like. Name only what can be seen.",
    version=1,
)
EXPANSION_PROMPT = VersionedPrompt(
    "Here is a caption of a photograph taken in rain. Write it out in two or three plain sentences. Cover the time of "
    "day, sources of light, the kind of place, streaks of rain or drops on the lens with their number and direction, "
    "and mist. Add no object that the caption does not name.\n\nCaption: {caption}",
    version=1,
)
