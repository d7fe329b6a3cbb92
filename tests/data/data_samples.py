"""Pictures and pairs that are as they should be, and such as are not."""

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from derain.data.check import FaultKind
from derain.data.pairs import Pair


def save(path: Path, size: tuple[int, int] = (64, 48), added: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    shown = np.minimum(skimage.data.astronaut().astype(int) + added, 255).astype(np.uint8)
    Image.fromarray(shown).resize(size).save(path)
    return path


def make_pair(folder: Path, name: str, split: str = "train", scene: str = "", type_name: str = "drs") -> Pair:
    rainy, clean = save(folder / "rainy" / f"{name}.png", added=20), save(folder / "clean" / f"{name}.png")
    return Pair(name, rainy, clean, type_name, "own", split, scene or name)


def break_pictures(folder: Path) -> dict[str, FaultKind]:
    """Pairs a to h, all but a and h each with its own fault."""
    (folder / "rainy" / "b.png").unlink()
    (folder / "clean" / "c.png").write_text("no picture")
    save(folder / "rainy" / "d.png", (64, 31), added=20)
    save(folder / "clean" / "d.png", (64, 31))
    save(folder / "clean" / "e.png", (64, 40))
    whole = (folder / "rainy" / "f.png").read_bytes()
    middle = len(whole) // 2
    (folder / "rainy" / "f.png").write_bytes(whole[:middle] + bytes(16) + whole[middle + 16 :])
    kinds = FaultKind.MISSING, FaultKind.UNREADABLE, FaultKind.TOO_SMALL, FaultKind.SIZES_DIFFER, FaultKind.BROKEN
    return dict(zip("bcdef", kinds, strict=True))


DAMAGES = ("half_zero", "hole", "bad_checksum")


def damaged(folder: Path, kind: str) -> Path:
    """A picture that ends as it should, and that decoders open, with pixels missing."""
    whole = save(folder / f"{kind}.{'png' if kind == 'bad_checksum' else 'jpg'}", (256, 200))
    content = whole.read_bytes()
    middle = len(content) // 2
    if kind == "half_zero":
        content = content[:middle] + bytes(len(content) - middle - 2) + content[-2:]
    elif kind == "hole":
        content = content[:middle] + bytes(400) + content[middle + 400 :]
    else:
        content = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    whole.write_bytes(content)
    return whole
