"""The names of faults that built-in judges give as reasons, and the verdict that follows from a model's answer."""

from derain.distill.judges.interface import Decision, Verdict
from derain.distill.judges.softmax import GOOD, Matrix, SoftmaxModel

REASONS: dict[str, str] = {
    "grey_lines": "additive_grey_streaks",
    "round_blobs": "pasted_blobs",
    "repeated_pattern": "repeated_pattern",
    "misaligned_target": "target_misaligned",
    "wrong_target": "target_of_another_scene",
    "target_still_rainy": "target_still_rainy",
    "smoothed_target": "target_smoothed",
    "colour_shifted_target": "target_colour_shifted",
    "heavy_compression": "heavy_compression",
    "blurred_background": "blurred_background",
}
"""Fault, by its name in `derain.rain.crude.CRUDE` -> reason of the verdict."""

RAIN_FAULTS = ("grey_lines", "round_blobs", "repeated_pattern", "heavy_compression", "blurred_background")
"""What can be seen in the rainy picture alone."""

PAIR_FAULTS = ("misaligned_target", "wrong_target", "target_still_rainy", "smoothed_target", "colour_shifted_target")
"""What can be seen in the pair alone."""


def verdict_of(judge: str, model: SoftmaxModel, values: Matrix, good_reason: str) -> Verdict:
    """The verdict on a case's features (F,); its score is in log odds."""
    score, fault = model.log_odds(values)
    if score > 0:
        return Verdict(judge, Decision.KEEP, round(score, 4), good_reason)
    return Verdict(judge, Decision.DROP, round(score, 4), REASONS[fault])


def abstention(judge: str, reason: str) -> Verdict:
    """No vote, for a named reason."""
    return Verdict(judge, Decision.ABSTAIN, None, reason)


__all__ = ["GOOD", "PAIR_FAULTS", "RAIN_FAULTS", "REASONS", "abstention", "verdict_of"]
