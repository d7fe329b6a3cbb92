"""What a vision-language judge is shown and asked in one turn."""

from dataclasses import dataclass

from derain.backends.view import Pixels8
from derain.distill.judges.interface import Case
from derain.distill.judges.mosaic import fitted, mosaic
from derain.distill.judges.prompt import judge_prompt


@dataclass(frozen=True)
class Turn:
    """One turn of a chat."""

    system: str
    pictures: tuple[Pixels8, ...]
    """(H, W, 3) uint8 each; references first, the candidate last, or all on one canvas."""
    question: str
    """Follows the pictures."""


def turn_of(case: Case, as_mosaic: bool, longest_side: int) -> Turn:
    """A case as one turn; no picture, or no canvas, is longer than `longest_side` pixels."""
    references = [view.pixels for view in case.references]
    prompt = judge_prompt(case.type, len(references), as_mosaic)
    if as_mosaic:
        return Turn(prompt.system, (mosaic(case.candidate.pixels, references, longest_side),), prompt.question)
    pictures = tuple(fitted(pixels, longest_side, longest_side) for pixels in (*references, case.candidate.pixels))
    return Turn(prompt.system, pictures, prompt.question)
