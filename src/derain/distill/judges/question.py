"""What a vision-language judge is shown and asked about a case."""

from derain.backends.chat import Chat
from derain.backends.view import Pixels8
from derain.distill.judges.interface import Case
from derain.distill.judges.mosaic import fitted, mosaic
from derain.distill.judges.prompt import judge_prompt


def chat_of(case: Case, as_mosaic: bool, longest_side: int, max_tokens: int) -> Chat:
    """A case as one turn: references, the candidate, the question; or all pictures on one canvas, then the question.

    No picture, and no canvas, is longer than `longest_side` pixels; the reply has at most `max_tokens` tokens.
    """
    references = [view.pixels for view in case.references]
    prompt = judge_prompt(case.type, len(references), as_mosaic)
    if as_mosaic:
        pictures: tuple[Pixels8, ...] = (mosaic(case.candidate.pixels, references, longest_side),)
    else:
        pictures = tuple(fitted(pixels, longest_side, longest_side) for pixels in (*references, case.candidate.pixels))
    return Chat((*pictures, prompt.question), prompt.system, max_tokens, logprobs=True)
