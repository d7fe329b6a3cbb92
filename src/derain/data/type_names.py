"""Names of rain types that are probably misspelt."""

from collections.abc import Mapping

from derain.types import RainType, Weather

KNOWN = (*(str(name) for name in RainType), *(str(name) for name in Weather))


def meant_by(name: str) -> str:
    """The known type that a name spells with other capitals, such as `drs` by `DRS`; empty for any other name."""
    plain = name.casefold()
    return plain if plain in KNOWN and plain != name else ""


def slips(types: Mapping[str, int], rare: float = 0.01, times: int = 20) -> dict[str, str]:
    """Names of types in less than a share `rare` of the rows -> the name of many that is one slip away.

    A slip is a letter too many, too few, another, or two that changed places. Of many are names in `times` as many
    rows or more. The four types of rain are a letter apart from each other and never a slip.
    """
    total = sum(types.values())
    few = [name for name, count in types.items() if name and count < rare * total and name not in set(RainType)]
    found = {}
    for name in few:
        near = [(count, other) for other, count in types.items() if count >= times * types[name] and other]
        close = [(count, other) for count, other in near if is_one_slip_away(name, other)]
        if close:
            found[name] = max(close)[1]
    return found


def is_one_slip_away(name: str, other: str) -> bool:
    """Whether one letter added, left out or changed, or two neighbours exchanged, make one name the other."""
    short, long = sorted((name, other), key=len)
    same = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    ours, theirs = short[same:], long[same:]
    if len(short) < len(long):
        return ours == theirs[1:]
    return bool(ours) and (ours[1:] == theirs[1:] or (ours[:2] == theirs[1::-1] and ours[2:] == theirs[2:]))
